//! Help topics: what many commands share and no flag explains.

/// A topic of `stele help`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topic {
    /// The word after `stele help`.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// The text.
    pub(crate) text: &'static str,
}

/// All topics.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "time", about: "How to name a point in time", text: TIME },
    Topic { name: "output", about: "Output formats and where things are written", text: OUTPUT },
    Topic { name: "exit-codes", about: "What the exit codes mean", text: EXIT_CODES },
    Topic {
        name: "witnesses",
        about: "Witnesses, and the policies that name them",
        text: WITNESSES,
    },
    Topic { name: "environment", about: "Variables, files and their order", text: ENVIRONMENT },
];

/// The topic of this name.
pub(crate) fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The list of topics under the help of `stele`.
pub(crate) fn overview() -> String {
    let mut text = String::from("Help topics (stele help TOPIC):\n");
    for topic in TOPICS {
        text.push_str(&format!("  {:<13} {}\n", topic.name, topic.about));
    }
    text.push_str("\nTo look around without a cluster: stele demo");
    text
}

const TIME: &str = "\
How to name a point in time (--at, --since, --until)

  now                        the present
  2h  90m  3d                that long ago; `2h ago` and `1h30m ago` mean the same
  2026-11-23T03:12:09Z       RFC 3339, with Z or an offset such as +02:00
  @1795403529                seconds since 1970; milli-, micro- and nanoseconds by their digits
  #812345                    exactly what the ledger held at that index: the form to cite
  rv:48213                   the cluster at that resourceVersion

A date or time without a zone is refused: add Z for UTC, or the offset, or name the zone with --tz.
A guessed zone is a wrong answer that looks right.

Which time is compared. A recorder observes, and its observed time counts. An imported recording
was not observed by stele; there the time counts at which its origin says that it received the
event. Answers name the basis, and print the ledger index at which they were answered: asked again
with #INDEX, they are the same.";

const OUTPUT: &str = "\
Output formats (-o)

  table   for people, as kubectl prints it; may change between versions (the default)
  wide    a table with more columns
  name    TYPE/NAME, one a line, for pipes
  json    one document with apiVersion, and `ledger` saying at which index and checkpoint
  jsonl   one JSON object a line
  yaml    as json

The answer goes to standard output. What was resolved (`As of ...`), warnings about gaps, hints
and progress go to standard error. Colour is used on terminals only, and never if NO_COLOR is set;
--color overrides that.

Ages in tables are relative to the time that was asked for, not to the time of asking.";

const EXIT_CODES: &str = "\
Exit codes

  0    done; found; verified
  1    failed: network, server, disk
  2    the command line, a time, or a configuration file is wrong
  3    nothing found; or differences found, with --error-changed
  4    not authorised
  5    verification failed: evidence of tampering, decay or a fork; used for nothing else
  6    the answer touches a gap: the recorder was blind, so the answer may be incomplete
  130  stopped by Ctrl-C";

const WITNESSES: &str = "\
Witnesses, and the policies that name them

A log's key alone does not keep its owner from showing different people different histories. A
witness is somebody else's program that cosigns a checkpoint only if its tree continues the one it
cosigned last. A checkpoint that enough witnesses have cosigned is one that everybody sees.

A trust policy (C2SP tlog-policy) is a text file that says whose word is enough:

  log <vkey> [<url>]                      a log it is about; keys as in DIR/keys/log.pub
  witness <name> <vkey> [<url>]           a witness; `stele witness` prints these lines
  group <name> all|any|<k> <member>...    enough of these, witnesses or earlier groups
  quorum <name>|none                      what a checkpoint must have

Take a quorum of more than half: with fewer, two histories can each find witnesses of their own.

  stele witness --data DIR --log log.pub            be a witness for a log
  stele up --witness-policy FILE                    have one's checkpoints cosigned
  stele verify FILE --policy FILE                   ask for the cosignatures

What is acknowledged when. An append is acknowledged when it is durable and under a checkpoint that
the log has signed. Witnesses are asked after that, about the newest checkpoint, once a second at
most (--witness-pause); nothing waits for them. The newest checkpoint that has the quorum is what /checkpoint serves,
and what proofs and exports carry for the records that it covers; newer records are proven with the
log's own checkpoint until the next one is cosigned. `stele log info` shows how far that is, and
which witness does not answer. `stele log append --cosigned` waits for it.";

const ENVIRONMENT: &str = "\
Variables, files and their order

A flag wins over a variable, a variable over the user's file, that over the machine's file, and
that over the default.

  STELE_CONTEXT       context to use (--context)
  STELE_SERVER        base URL of the server (--server)
  STELE_TOKEN_FILE    file with the bearer token (--token-file)
  STELE_KEY           public key of the log, or a file with it (--key)
  STELE_DATA          data directory (--data)
  STELE_CONFIG        the user's configuration file
  STELE_LOG           what the server logs, for example `info` or `stele_collect=debug`
  KUBECONFIG          kubeconfig of the clusters to record
  NO_COLOR            no colour
  XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME

  $XDG_CONFIG_HOME/stele/config.toml   the user's file: contexts and settings
  /etc/stele/stele.toml                the machine's file, of the same form
  $XDG_DATA_HOME/stele                 data directory of `stele up`
  $XDG_STATE_HOME/stele                pinned checkpoints

`stele config default` prints a file with every key. A token is given by file, never by flag: the
arguments of a process can be read by others.";

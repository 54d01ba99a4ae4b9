//! Logs of flows as others write them: tables with a line of names, turned into questions.
//!
//! Not here: JSON lines, which go to the server as they are.

use serde_json::{Map, Value, json};

use crate::error::CliError;

/// Names of columns, without the marks between words, and what they mean here. Where several columns
/// mean the same the first one of this list counts: what is known of the packet comes before what is
/// known of the interface.
const NAMES: [(&str, &[&str]); 10] = [
    ("ip", &["ip", "address", "addr", "ipaddress"]),
    (
        "src",
        &["pktsrcaddr", "src", "srcaddr", "srcip", "source", "sourceip", "sourceaddress", "saddr"],
    ),
    (
        "dst",
        &[
            "pktdstaddr",
            "dst",
            "dstaddr",
            "dstip",
            "dest",
            "destination",
            "destip",
            "destinationip",
            "destinationaddress",
            "daddr",
        ],
    ),
    ("port", &["port"]),
    ("srcPort", &["srcport", "sport", "sourceport"]),
    ("dstPort", &["dstport", "dport", "destport", "destinationport"]),
    ("protocol", &["protocol", "proto", "ipprotocol"]),
    ("at", &["at", "time", "timestamp", "ts", "datetime"]),
    ("since", &["since", "start", "starttime", "from", "begin", "first", "firstseen"]),
    ("until", &["until", "end", "endtime", "to", "last", "lastseen"]),
];

/// Most columns of a table.
const COLUMNS_MAX: usize = 1_000;

/// The line of names of a table.
#[derive(Debug, Clone)]
pub(super) struct Header {
    separator: char,
    pub(super) names: Vec<String>,
    /// For each entry of [`NAMES`] the columns that have it, the best one first.
    columns: Vec<Vec<usize>>,
}

impl Header {
    /// Reads the line of names.
    ///
    /// # Errors
    /// When no address, or no time, is among them.
    pub(super) fn read(line: &str) -> Result<Self, CliError> {
        let line = line.trim_start_matches('\u{feff}');
        let separator =
            [',', ';', '\t'].into_iter().find(|mark| line.contains(*mark)).unwrap_or(' ');
        let names = fields(line, separator);
        if names.len() > COLUMNS_MAX {
            return Err(CliError::usage(format!("the table has over {COLUMNS_MAX} columns")));
        }
        let bare: Vec<String> = names
            .iter()
            .map(|name| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>())
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let columns: Vec<Vec<usize>> = NAMES
            .iter()
            .map(|(_, known)| {
                let place = |name: &&str| bare.iter().position(|column| column == name);
                known.iter().filter_map(place).collect()
            })
            .collect();
        let header = Self { separator, names, columns };
        let has = |name: &str| header.columns_of(name).is_some_and(|columns| !columns.is_empty());
        if !has("ip") && !has("src") && !has("dst") {
            return Err(CliError::usage(format!("no column holds an address: {line}"))
                .hint("the first line has to name the columns, among them ip, or src and dst"));
        }
        let has_time = has("at") || (has("since") && has("until"));
        if !has_time {
            return Err(CliError::usage(format!("no column holds a time: {line}")).hint(
                "the first line has to name the columns, among them at, or since and until",
            ));
        }
        Ok(header)
    }

    fn columns_of(&self, name: &str) -> Option<&Vec<usize>> {
        let place = NAMES.iter().position(|(known, _)| *known == name)?;
        self.columns.get(place)
    }

    /// Which of `ip`, `src` and `dst` the table has.
    pub(super) fn ends(&self) -> Vec<&'static str> {
        ["ip", "src", "dst"]
            .into_iter()
            .filter(|end| self.columns_of(end).is_some_and(|columns| !columns.is_empty()))
            .collect()
    }

    /// The question of a row. Its `id` is the row itself.
    pub(super) fn question(&self, line: &str) -> Value {
        let row = fields(line, self.separator);
        let value = |name: &str| {
            let columns = self.columns_of(name)?.iter();
            let mut values = columns.filter_map(|column| row.get(*column));
            // `-` is how some write that there is none.
            values.find(|value| !value.is_empty() && *value != "-").cloned()
        };
        let mut question = Map::new();
        for name in ["ip", "src", "dst", "protocol"] {
            question.extend(value(name).map(|text| (name.to_owned(), Value::String(text))));
        }
        if question.contains_key("src") || question.contains_key("dst") {
            question.remove("ip");
        }
        for name in ["port", "srcPort", "dstPort"] {
            let number = value(name).and_then(|text| text.parse::<u16>().ok());
            let number = number.filter(|number| *number != 0);
            question.extend(number.map(|number| (name.to_owned(), number.into())));
        }
        let times: &[&str] = match value("at") {
            Some(_) => &["at"],
            None => &["since", "until"],
        };
        for name in times {
            question.extend(value(name).map(|text| ((*name).to_owned(), time(text).into())));
        }
        question.insert("id".to_owned(), json!(row));
        Value::Object(question)
    }
}

/// A time of a table: bare digits are Unix time.
fn time(text: String) -> String {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if bare { format!("@{text}") } else { text }
}

/// The fields of a line; one in double quotes may hold the separator, and quotes twice.
pub(super) fn fields(line: &str, separator: char) -> Vec<String> {
    let line = line.trim_end_matches(['\r', '\n']);
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut marks = line.chars().peekable();
    while let Some(mark) = marks.next() {
        match mark {
            '"' if quoted && marks.peek() == Some(&'"') => {
                field.push('"');
                marks.next();
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            mark if mark == separator && !quoted => {
                // Spaces line up columns.
                if separator != ' ' || !field.is_empty() {
                    fields.push(std::mem::take(&mut field));
                }
            }
            mark => field.push(mark),
        }
    }
    if separator != ' ' || !field.is_empty() {
        fields.push(field);
    }
    if separator != ' ' {
        fields.iter_mut().for_each(|field| *field = field.trim().to_owned());
    }
    fields
}

/// A line of comma-separated values.
pub(super) fn csv_line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = |field: &str| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.to_owned()
        }
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_use_are_understood() {
        let aws = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
        let header = Header::read(aws).unwrap();
        assert_eq!(header.ends(), ["src", "dst"]);
        let row =
            "2 123 eni-1 10.42.0.17 10.96.0.10 41000 443 6 9 900 1795403529 1795403589 ACCEPT OK";
        let question = header.question(row);
        assert_eq!(question["src"], "10.42.0.17");
        assert_eq!((&question["dstPort"], &question["protocol"]), (&json!(443), &json!("6")));
        assert_eq!(
            (&question["since"], &question["until"]),
            (&json!("@1795403529"), &json!("@1795403589"))
        );
        assert_eq!(question["id"][2], "eni-1");
        let nodata = "2 123 eni-1 - - - - - - - 1795403529 1795403589 - NODATA";
        assert_eq!(header.question(nodata).get("src"), None);
        // What is known of the packet comes first, where it is there.
        let header = Header::read("srcaddr,pkt-srcaddr,time").unwrap();
        assert_eq!(header.question("10.0.0.1,10.42.0.17,@1")["src"], "10.42.0.17");
        assert_eq!(header.question("10.0.0.1,-,@1")["src"], "10.0.0.1");
        let header = Header::read("Address;Timestamp;Port").unwrap();
        let question = header.question("10.42.0.17;2026-11-23T03:12:09Z;80");
        assert_eq!((&question["ip"], &question["port"]), (&json!("10.42.0.17"), &json!(80)));
        assert_eq!(question["at"], "2026-11-23T03:12:09Z");
    }

    #[test]
    fn a_table_without_addresses_or_times_is_refused() {
        for line in ["a,b,c", "ip,port", "src,dst,since", "at,until"] {
            Header::read(line).unwrap_err();
        }
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(fields("a,\"b,c\",\"d \"\"e\"\"\",\r\n", ','), ["a", "b,c", "d \"e\"", ""]);
        assert_eq!(fields("a  b   c", ' '), ["a", "b", "c"]);
        assert_eq!(csv_line(["a", "b,c", "d \"e\""]), "a,\"b,c\",\"d \"\"e\"\"\"");
    }
}

// Stele-witness-check plays the other side of the witness protocol with other people's code, none of
// it shared with stele:
//
//	stele-witness-check verify -note FILE VKEY...
//	stele-witness-check witness -name NAME VKEY...
//	stele-witness-check log -dir DIR -policy FILE [-origin NAME] [-entries N]
//
// `verify` checks a note with golang.org/x/mod/sumdb/note and, for ML-DSA-44, filippo.io/mldsa: every
// key must have signed. `witness` is an omniwitness (github.com/transparency-dev/witness) for the logs
// of these keys, on a free port of the loopback, with its state in memory; it ends with its standard
// input. `log` is a Tessera log (github.com/transparency-dev/tessera) on disk that publishes only what
// the witnesses of its policy have cosigned; it prints the published checkpoint.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"github.com/transparency-dev/witness/config"
	"github.com/transparency-dev/witness/omniwitness"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"golang.org/x/mod/sumdb/note"
)

const (
	typeEd25519     = 0x01
	typeCosignature = 0x04
	typeMLDSA44     = 0x06

	publishPeriod = 100 * time.Millisecond
	publishWait   = 60 * time.Second
)

func main() {
	var err error
	if len(os.Args) < 2 {
		err = errors.New("verify, witness or log?")
	} else {
		commands := map[string]func([]string) error{"verify": verify, "witness": witness, "log": log}
		if command, ok := commands[os.Args[1]]; ok {
			err = command(os.Args[2:])
		} else {
			err = fmt.Errorf("no such command: %q", os.Args[1])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

// verifier is what other people's code makes of a verifier key.
func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("not a verifier key: %q", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("not a verifier key: %q", vkey)
	}
	switch key[0] {
	case typeEd25519:
		return note.NewVerifier(vkey)
	case typeCosignature:
		return fnote.NewVerifierForCosignatureV1(vkey)
	case typeMLDSA44:
		return fnote.NewMLDSAVerifier(vkey)
	}
	return nil, fmt.Errorf("signature type %#x", key[0])
}

func verify(args []string) error {
	flags := flag.NewFlagSet("verify", flag.ExitOnError)
	file := flags.String("note", "", "file with the signed note")
	flags.Parse(args)
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	var all []note.Verifier
	for _, vkey := range flags.Args() {
		v, err := verifier(vkey)
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	opened, err := note.Open(text, note.VerifierList(all...))
	if err != nil {
		return err
	}
	for _, v := range all {
		if !signed(opened, v) {
			return fmt.Errorf("%s+%08x has not signed", v.Name(), v.KeyHash())
		}
	}
	for _, sig := range opened.Sigs {
		fmt.Printf("%s+%08x\n", sig.Name, sig.Hash)
	}
	fmt.Println("OK")
	return nil
}

func signed(n *note.Note, v note.Verifier) bool {
	for _, sig := range n.Sigs {
		if sig.Name == v.Name() && sig.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

func witness(args []string) error {
	flags := flag.NewFlagSet("witness", flag.ExitOnError)
	name := flags.String("name", "omniwitness.example", "name of its keys")
	flags.Parse(args)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state := inmemory.New()
	var logs []config.Log
	for _, vkey := range flags.Args() {
		v, err := verifier(vkey)
		if err != nil {
			return err
		}
		logs = append(logs, config.Log{VKey: vkey, Verifier: v, Origin: v.Name()})
	}
	if err := state.AddLogs(ctx, logs); err != nil {
		return err
	}
	skey, plain, err := note.GenerateKey(nil, *name)
	if err != nil {
		return err
	}
	ed25519, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		return err
	}
	vkey, err := fnote.VKeyToCosignatureV1(plain)
	if err != nil {
		return err
	}
	skey, vkeyMLDSA, err := fnote.GenerateMLDSAKey(*name)
	if err != nil {
		return err
	}
	mldsa, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n%s\n%s\n", listener.Addr(), vkey, vkeyMLDSA)
	go func() {
		// The test holds the other end open for as long as it needs this witness.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	operator := omniwitness.OperatorConfig{
		WitnessKeys:     []note.Signer{ed25519, mldsa},
		WitnessVerifier: ed25519.Verifier(),
		Logs:            state,
	}
	return omniwitness.Main(ctx, operator, state, listener, http.DefaultClient)
}

func log(args []string) error {
	flags := flag.NewFlagSet("log", flag.ExitOnError)
	dir := flags.String("dir", "", "directory of the log")
	policy := flags.String("policy", "", "policy file with the witnesses")
	origin := flags.String("origin", "tessera.example/log", "name of the log")
	entries := flags.Int("entries", 10, "entries to append")
	key := flags.String("key", "", "file with the log's private key; made if it is not there")
	flags.Parse(args)
	ctx, cancel := context.WithTimeout(context.Background(), publishWait)
	defer cancel()
	signer, err := logKey(*key, *origin)
	if err != nil {
		return err
	}
	if *entries == 0 {
		return nil
	}
	text, err := os.ReadFile(*policy)
	if err != nil {
		return err
	}
	witnesses, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: *dir})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(uint(*entries), publishPeriod).
		WithCheckpointInterval(publishPeriod).
		WithWitnesses(witnesses, &tessera.WitnessOptions{Timeout: publishWait})
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, publishPeriod)
	var appended []tessera.IndexFuture
	for i := range *entries {
		entry := fmt.Appendf(nil, "entry %d of %d", i, *entries)
		appended = append(appended, appender.Add(ctx, tessera.NewEntry(entry)))
	}
	for _, entry := range appended {
		if _, _, err := await.Await(ctx, entry); err != nil {
			return err
		}
	}
	if err := shutdown(ctx); err != nil {
		return err
	}
	published, err := reader.ReadCheckpoint(ctx)
	if err != nil {
		return err
	}
	if !witnesses.Satisfied(published) {
		return errors.New("published without the witnesses of the policy")
	}
	_, err = os.Stdout.Write(published)
	return err
}

// logKey reads the log's private key, or makes one and prints its verifier key.
func logKey(path, origin string) (note.Signer, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return note.NewSigner(string(text))
	}
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(skey), 0o600); err != nil {
		return nil, err
	}
	fmt.Println(vkey)
	return note.NewSigner(skey)
}

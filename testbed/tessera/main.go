// Stele-tessera-check reads a ledger with Tessera's own code (github.com/transparency-dev/tessera),
// none of it shared with stele:
//
//	stele-tessera-check fsck -url URL -vkey VKEY
//	stele-tessera-check follow -url URL -vkey VKEY -state FILE [-samples N] [-seed N]
//	stele-tessera-check push -url URL -vkey VKEY -to URL -mirror-keys VKEY,VKEY
//
// `fsck` is the package that Tessera's command of that name runs: it derives every tile and the root
// from the entry bundles. The command itself exits with 0 whatever it finds, and this does not.
// `follow` is Tessera's client: it tracks the log from the checkpoint in the file, if there is one,
// proves that the newest one continues it, reads every entry, proves random ones, and leaves the
// newest checkpoint in the file. `push` uploads the log to a mirror (C2SP tlog-mirror), with the proofs of
// transparency-dev/merkle. A URL is that of a server, or file:// and a directory.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

const (
	typeMLDSA44 = 0x06

	workers       = 2
	lookEvery     = 100 * time.Millisecond
	requestPeriod = 30 * time.Second
	runPeriod     = 5 * time.Minute
)

func main() {
	var err error
	commands := map[string]func(context.Context, []string) error{"fsck": check, "follow": follow, "push": push}
	if len(os.Args) < 2 {
		err = errors.New("fsck, follow or push?")
	} else if command, ok := commands[os.Args[1]]; ok {
		ctx, cancel := context.WithTimeout(context.Background(), runPeriod)
		defer cancel()
		err = command(ctx, os.Args[2:])
	} else {
		err = fmt.Errorf("no such command: %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}

// target is a log and the key that it is believed by.
type target struct {
	log      fsck.Fetcher
	verifier note.Verifier
}

// flagsOf gives the flags that both commands have, and what they lead to once they are parsed.
func flagsOf(name string) (*flag.FlagSet, func([]string) (target, error)) {
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	at := flags.String("url", "", "where the log is")
	vkey := flags.String("vkey", "", "verifier key of the log, Ed25519 or ML-DSA-44")
	return flags, func(args []string) (target, error) {
		flags.Parse(args)
		var t target
		var err error
		if t.verifier, err = verifierOf(*vkey); err != nil {
			return t, err
		}
		place, err := url.Parse(*at)
		if err != nil {
			return t, err
		}
		if place.Scheme == "file" {
			t.log = client.FileFetcher{Root: place.Path}
			return t, nil
		}
		t.log, err = client.NewHTTPFetcher(place, &http.Client{Timeout: requestPeriod})
		return t, err
	}
}

func verifierOf(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("not a verifier key: %q", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("not a verifier key: %q", vkey)
	}
	if key[0] == typeMLDSA44 {
		return fnote.NewMLDSAVerifier(vkey)
	}
	return fnote.NewVerifier(vkey)
}

// leafHashes is RFC 6962 over each entry of a bundle, what Tessera's command takes by default.
func leafHashes(bundle []byte) ([][]byte, error) {
	entries, err := entriesOf(bundle)
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(entries))
	for i, entry := range entries {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(entry)
	}
	return hashes, nil
}

func entriesOf(bundle []byte) ([][]byte, error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	return entries.Entries, nil
}

func check(ctx context.Context, args []string) error {
	_, parse := flagsOf("fsck")
	t, err := parse(args)
	if err != nil {
		return err
	}
	checker := fsck.New(t.verifier.Name(), t.verifier, t.log, leafHashes, fsck.Opts{N: workers})
	done := make(chan error, 1)
	go func() { done <- checker.Check(ctx) }()
	for {
		select {
		case err := <-done:
			// What is wrong with a tile is in the status too.
			return errors.Join(err, faults(checker.Status()))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
			// Its workers end at the first bad tile, and it waits for them forever.
			if err := faults(checker.Status()); err != nil {
				return err
			}
		}
	}
}

// faults says which resources are not what the entries make them.
func faults(status fsck.Status) error {
	var all []error
	levels := append([][]fsck.Range{status.EntryRanges}, status.TileRanges...)
	for level, ranges := range levels {
		for _, r := range ranges {
			if r.State == fsck.Invalid || r.State == fsck.FetchError {
				all = append(all, fmt.Errorf("level %d: %s", level-1, r.String()))
			}
		}
	}
	return errors.Join(all...)
}

func follow(ctx context.Context, args []string) error {
	flags, parse := flagsOf("follow")
	state := flags.String("state", "", "file with the checkpoint that was seen last")
	samples := flags.Int("samples", 100, "number of random entries to prove")
	seed := flags.Uint64("seed", 1, "seed of the random choices")
	t, err := parse(args)
	if err != nil {
		return err
	}
	seen, err := os.ReadFile(*state)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	name := t.verifier.Name()
	consensus := client.UnilateralConsensus(t.log.ReadCheckpoint)
	tracker, err := client.NewLogStateTracker(ctx, t.log.ReadTile, seen, t.verifier, name, consensus)
	if err != nil {
		return err
	}
	before := tracker.Latest().Size
	_, _, newest, err := tracker.Update(ctx)
	if err != nil {
		return err
	}
	// The tracker stays where it is when it is shown a smaller tree, and says nothing.
	shown, _, _, err := client.FetchCheckpoint(ctx, t.log.ReadCheckpoint, t.verifier, name)
	if err != nil {
		return err
	}
	latest := tracker.Latest()
	if shown.Size < latest.Size || shown.Size == latest.Size && !bytes.Equal(shown.Hash, latest.Hash) {
		return fmt.Errorf("size %d was seen before, and the log shows another tree of %d",
			latest.Size, shown.Size)
	}
	fmt.Printf("consistency: from %d to %d\n", before, latest.Size)
	if err := t.readAll(ctx, latest.Size, latest.Hash, *samples, rand.New(rand.NewPCG(*seed, 0))); err != nil {
		return err
	}
	return os.WriteFile(*state, newest, 0o644)
}

// readAll streams all entries and proves random ones.
func (t target) readAll(ctx context.Context, size uint64, root []byte, samples int, random *rand.Rand) error {
	if size == 0 {
		return nil
	}
	builder, err := client.NewProofBuilder(ctx, size, t.log.ReadTile)
	if err != nil {
		return err
	}
	chosen := map[uint64]bool{0: true, size - 1: true}
	for range samples {
		chosen[random.Uint64N(size)] = true
	}
	getSize := func(context.Context) (uint64, error) { return size, nil }
	bundles := client.EntryBundles(ctx, workers, getSize, t.log.ReadEntryBundle, 0, size)
	next := uint64(0)
	for entry, err := range client.Entries(bundles, entriesOf) {
		if err != nil {
			return err
		}
		if entry.Index != next {
			return fmt.Errorf("entry %d where %d was expected", entry.Index, next)
		}
		next++
		if !chosen[entry.Index] {
			continue
		}
		hashes, err := builder.InclusionProof(ctx, entry.Index)
		if err != nil {
			return err
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(entry.Entry)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, entry.Index, size, leaf, hashes, root); err != nil {
			return fmt.Errorf("entry %d: %w", entry.Index, err)
		}
	}
	if next != size {
		return fmt.Errorf("%d entries of %d", next, size)
	}
	fmt.Printf("entries: %d read, %d of them proven\n", size, len(chosen))
	return nil
}

// Command stele-peers puts the load of stele's benchmark on another store and says how fast it was.
//
// One peer, one load, one directory a call; one line of JSON on standard output. Each peer is used
// as a library and set up as its own documentation says; where that leaves a choice, the faster one
// was taken. It is not a test: it reports and judges nothing.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// load is how the records reach a peer.
type load struct {
	writers, batch, submissions, payload int
}

// peer takes the records of one submission and returns once it has promised what it promises.
type peer interface {
	append(ctx context.Context, writer, number int, records [][]byte) error
	close(ctx context.Context) error
}

type opener func(ctx context.Context, dir string, l load) (peer, error)

var peers = map[string]opener{
	"tessera-sequenced": func(ctx context.Context, dir string, l load) (peer, error) {
		return openTessera(ctx, dir, l, false)
	},
	"tessera-published": func(ctx context.Context, dir string, l load) (peer, error) {
		return openTessera(ctx, dir, l, true)
	},
	"immudb": openImmudb,
	"sqlite": openSQLite,
}

// result is what is printed.
type result struct {
	Records     int     `json:"records"`
	Seconds     float64 `json:"seconds"`
	P50Ms       float64 `json:"p50_ms"`
	P99Ms       float64 `json:"p99_ms"`
	StoredBytes int64   `json:"stored_bytes"`
}

func main() {
	name := flag.String("peer", "", "tessera-sequenced, tessera-published, immudb or sqlite")
	dir := flag.String("dir", "", "an empty directory to store in")
	var l load
	flag.IntVar(&l.writers, "writers", 8, "concurrent writers")
	flag.IntVar(&l.batch, "batch", 1, "records of a submission")
	flag.IntVar(&l.submissions, "submissions", 10, "submissions of each writer")
	flag.IntVar(&l.payload, "payload", 256, "bytes of a record")
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if err := run(*name, *dir, l); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(name, dir string, l load) error {
	open, known := peers[name]
	if !known {
		return fmt.Errorf("no peer is called %q", name)
	}
	if l.payload < 16 {
		return fmt.Errorf("a record has at least 16 bytes, not %d", l.payload)
	}
	ctx := context.Background()
	work := records(l)
	p, err := open(ctx, dir, l)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	started := time.Now()
	waits, err := drive(ctx, p, l, work)
	took := time.Since(started)
	if err != nil {
		return fmt.Errorf("append to %s: %w", name, err)
	}
	if err := p.close(ctx); err != nil {
		return fmt.Errorf("close %s: %w", name, err)
	}
	slices.Sort(waits)
	at := func(share float64) float64 {
		return float64(waits[int(float64(len(waits)-1)*share)]) / float64(time.Millisecond)
	}
	return json.NewEncoder(os.Stdout).Encode(result{
		Records:     l.writers * l.batch * l.submissions,
		Seconds:     took.Seconds(),
		P50Ms:       at(0.5),
		P99Ms:       at(0.99),
		StoredBytes: stored(dir),
	})
}

// records makes all payloads before the clock starts: incompressible, no two alike.
func records(l load) [][][][]byte {
	noise := rand.NewChaCha8([32]byte{})
	work := make([][][][]byte, l.writers)
	for writer := range work {
		work[writer] = make([][][]byte, l.submissions)
		for number := range work[writer] {
			batch := make([][]byte, l.batch)
			for i := range batch {
				batch[i] = make([]byte, l.payload)
				noise.Read(batch[i])
				binary.LittleEndian.PutUint64(batch[i], uint64(writer))
				binary.LittleEndian.PutUint64(batch[i][8:], uint64(number*l.batch+i))
			}
			work[writer][number] = batch
		}
	}
	return work
}

// drive lets every writer wait for the answer to its last submission before the next.
func drive(ctx context.Context, p peer, l load, work [][][][]byte) ([]time.Duration, error) {
	waits := make([]time.Duration, l.writers*l.submissions)
	errs := make([]error, l.writers)
	var all sync.WaitGroup
	for writer := range l.writers {
		all.Go(func() {
			for number, batch := range work[writer] {
				started := time.Now()
				if err := p.append(ctx, writer, number, batch); err != nil {
					errs[writer] = err
					return
				}
				waits[writer*l.submissions+number] = time.Since(started)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return waits, nil
}

// stored is how many bytes the files of a directory take on disk.
func stored(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			total += onDisk(info)
		}
		return nil
	})
	return total
}

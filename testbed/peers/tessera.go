package main

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	// The driver's own minimum.
	tesseraCheckpointEvery = 100 * time.Millisecond
	tesseraPollEvery       = 10 * time.Millisecond
	tesseraBatchMax        = 4096
)

// tesseraLog is a log of Tessera's POSIX driver. An acknowledgement says that the record has its
// place and is integrated into the tree on disk; with `published`, that a signed checkpoint covers
// it too.
type tesseraLog struct {
	appender *tessera.Appender
	shutdown func(context.Context) error
	awaiter  *tessera.PublicationAwaiter
}

func openTessera(ctx context.Context, dir string, l load, published bool) (peer, error) {
	secret, _, err := note.GenerateKey(rand.Reader, "bench.example/tessera")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	// As its example for many entries at once: batches as large as what is outstanding.
	batch := min(max(l.writers*l.batch, 256), tesseraBatchMax)
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(tesseraCheckpointEvery).
		WithBatching(uint(batch), 10*time.Millisecond)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	t := &tesseraLog{appender: appender, shutdown: shutdown}
	if published {
		t.awaiter = tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, tesseraPollEvery)
	}
	return t, nil
}

func (t *tesseraLog) append(ctx context.Context, _, _ int, records [][]byte) error {
	futures := make([]tessera.IndexFuture, len(records))
	for i, record := range records {
		futures[i] = t.appender.Add(ctx, tessera.NewEntry(record))
	}
	for _, future := range futures {
		if _, err := future(); err != nil {
			return err
		}
	}
	if t.awaiter == nil {
		return nil
	}
	for _, future := range futures {
		if _, _, err := t.awaiter.Await(ctx, future); err != nil {
			return err
		}
	}
	return nil
}

func (t *tesseraLog) close(ctx context.Context) error {
	return t.shutdown(ctx)
}

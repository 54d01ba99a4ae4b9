package main

import (
	"context"
	"encoding/binary"
	"io"

	"github.com/codenotary/immudb/embedded/logger"
	"github.com/codenotary/immudb/embedded/store"
)

// immudbStore is immudb's embedded store, synced. An acknowledgement says that the transaction is
// durable and part of the store's own Merkle tree; no checkpoint is signed, and no proof is made
// until somebody asks.
type immudbStore struct {
	store *store.ImmuStore
}

func openImmudb(_ context.Context, dir string, l load) (peer, error) {
	options := store.DefaultOptions().
		WithSynced(true).
		WithLogger(logger.NewSimpleLoggerWithLevel("bench", io.Discard, logger.LogError)).
		WithMaxConcurrency(max(l.writers, store.DefaultMaxConcurrency)).
		WithMaxActiveTransactions(max(2*l.writers, store.DefaultMaxActiveTransactions)).
		WithMaxWaitees(max(2*l.writers, store.DefaultMaxWaitees))
	opened, err := store.Open(dir, options)
	if err != nil {
		return nil, err
	}
	return &immudbStore{store: opened}, nil
}

func (s *immudbStore) append(ctx context.Context, writer, number int, records [][]byte) error {
	tx, err := s.store.NewWriteOnlyTx(ctx)
	if err != nil {
		return err
	}
	for i, record := range records {
		var key [16]byte
		binary.BigEndian.PutUint64(key[:], uint64(writer))
		binary.BigEndian.PutUint64(key[8:], uint64(number*len(records)+i))
		if err := tx.Set(key[:], nil, record); err != nil {
			return err
		}
	}
	// Durable, without waiting for the index of keys.
	_, err = tx.AsyncCommit(ctx)
	return err
}

func (s *immudbStore) close(context.Context) error {
	return s.store.Close()
}

package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"

	_ "github.com/mattn/go-sqlite3"
)

// sqliteTable is a table of SQLite in WAL mode with synchronous=FULL. An acknowledgement says that
// the transaction is durable. Nothing can be proven.
type sqliteTable struct {
	db     *sql.DB
	insert *sql.Stmt
	// SQLite has one writer at a time; waiting here costs less than its busy handler.
	mutex sync.Mutex
}

func openSQLite(ctx context.Context, dir string, _ load) (peer, error) {
	path := filepath.Join(dir, "bench.db")
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	const table = "CREATE TABLE records (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)"
	if _, err := db.ExecContext(ctx, table); err != nil {
		return nil, err
	}
	insert, err := db.PrepareContext(ctx, "INSERT INTO records (payload) VALUES (?)")
	if err != nil {
		return nil, err
	}
	return &sqliteTable{db: db, insert: insert}, nil
}

func (s *sqliteTable) append(ctx context.Context, _, _ int, records [][]byte) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	insert := tx.StmtContext(ctx, s.insert)
	for _, record := range records {
		if _, err := insert.ExecContext(ctx, record); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqliteTable) close(context.Context) error {
	return s.db.Close()
}

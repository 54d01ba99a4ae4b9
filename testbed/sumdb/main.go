// Stele-sumdb-check reads a ledger over HTTP with the code that the Go toolchain checks modules
// with (golang.org/x/mod/sumdb), none of it shared with stele: it opens the signed checkpoint,
// proves random records and random earlier sizes from the tiles, and exits 1 if anything does not
// fit.
//
//	stele-sumdb-check -url http://127.0.0.1:PORT -vkey VKEY [-token T] [-samples 100] [-sizes 10] [-seed N]
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight    = 8
	tileWidth     = 1 << tileHeight
	bodyBytesMax  = 32 << 20
	requestPeriod = 30 * time.Second
)

var errNotFound = errors.New("not found")

func main() {
	var c checker
	flag.StringVar(&c.url, "url", "", "where the ledger's /checkpoint and /tile/ are served")
	flag.StringVar(&c.vkey, "vkey", "", "the ledger's Ed25519 verifier key")
	flag.StringVar(&c.token, "token", "", "bearer token, if the ledger asks for one")
	flag.IntVar(&c.samples, "samples", 100, "number of random records to prove")
	flag.IntVar(&c.sizes, "sizes", 10, "number of random earlier sizes to prove")
	flag.Uint64Var(&c.seed, "seed", 1, "seed of the random choices")
	flag.Parse()
	if c.url == "" || c.vkey == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	c.url = strings.TrimSuffix(c.url, "/")
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}

// checker holds what was asked for, and after open the tree that everything is checked against.
type checker struct {
	url, vkey, token string
	samples, sizes   int
	seed             uint64

	client http.Client
	tree   tlog.Tree
	hashes tlog.HashReader
	tiles  tileReader
}

func (c *checker) run() error {
	c.client.Timeout = requestPeriod
	if err := c.open(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	root, err := tlog.TreeHash(c.tree.N, c.hashes)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	if root != c.tree.Hash {
		return fmt.Errorf("tiles: they have the root %v, the checkpoint %v", root, c.tree.Hash)
	}
	fmt.Printf("tiles: lead to the root %v\n", root)
	random := rand.New(rand.NewPCG(c.seed, 0))
	if err := c.checkRecords(random); err != nil {
		return err
	}
	return c.checkSizes(random)
}

// open fetches the checkpoint and believes it if the key signed it.
func (c *checker) open() error {
	verifier, err := note.NewVerifier(c.vkey)
	if err != nil {
		return err
	}
	message, err := c.get("checkpoint")
	if err != nil {
		return err
	}
	signed, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	if c.tree, err = parseCheckpoint(signed.Text, verifier.Name()); err != nil {
		return err
	}
	c.tiles = tileReader{c: c, seen: map[tlog.Tile][]byte{}}
	c.hashes = tlog.TileHashReader(c.tree, &c.tiles)
	fmt.Printf("checkpoint: size %d, signed by %s, %d lines of other keys\n",
		c.tree.N, verifier.Name(), len(signed.UnverifiedSigs))
	return nil
}

// parseCheckpoint reads the three lines of a C2SP checkpoint.
func parseCheckpoint(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("expected three lines, found %q", text)
	}
	if lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("origin is %q, the key is of %q", lines[0], origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("%q is no size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// checkRecords proves random records: the entry in its bundle is the leaf that the tree has there.
func (c *checker) checkRecords(random *rand.Rand) error {
	checked := 0
	for ; checked < c.samples && c.tree.N > 0; checked++ {
		index := random.Int64N(c.tree.N)
		if err := c.checkRecord(index); err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
	}
	fmt.Printf("inclusion: %d records proven in the tree of %d\n", checked, c.tree.N)
	return nil
}

func (c *checker) checkRecord(index int64) error {
	bundle := tlog.Tile{H: tileHeight, L: -1, N: index / tileWidth, W: tileWidth}
	if rest := c.tree.N - bundle.N*tileWidth; rest < tileWidth {
		bundle.W = int(rest)
	}
	data, err := c.tiles.read(bundle)
	if err != nil {
		return err
	}
	entries, err := splitBundle(data, bundle.W)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(c.tree.N, index, c.hashes)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(entries[index%tileWidth])
	return tlog.CheckRecord(proof, c.tree.N, c.tree.Hash, index, leaf)
}

// splitBundle gives the first width entries of a bundle. A bundle that was asked for in part and
// came whole may hold more.
func splitBundle(data []byte, width int) ([][]byte, error) {
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("entry bundle ends within entry %d", len(entries))
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if len(entries) < width {
		return nil, fmt.Errorf("entry bundle has %d entries, not %d", len(entries), width)
	}
	return entries[:width], nil
}

// checkSizes proves that the tree continues the trees of random earlier sizes.
func (c *checker) checkSizes(random *rand.Rand) error {
	checked := 0
	for ; checked < c.sizes && c.tree.N > 0; checked++ {
		old := 1 + random.Int64N(c.tree.N)
		root, err := tlog.TreeHash(old, c.hashes)
		if err != nil {
			return fmt.Errorf("size %d: %w", old, err)
		}
		proof, err := tlog.ProveTree(c.tree.N, old, c.hashes)
		if err != nil {
			return fmt.Errorf("size %d: %w", old, err)
		}
		if err := tlog.CheckTree(proof, c.tree.N, c.tree.Hash, old, root); err != nil {
			return fmt.Errorf("size %d: %w", old, err)
		}
	}
	fmt.Printf("consistency: %d earlier sizes proven\n", checked)
	return nil
}

// tileReader reads tiles over HTTP and keeps those it has read.
type tileReader struct {
	c    *checker
	seen map[tlog.Tile][]byte
}

func (r *tileReader) Height() int { return tileHeight }

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := r.read(tile)
		if err != nil {
			return nil, err
		}
		full := tile.W == tileWidth
		if size := tile.W * tlog.HashSize; len(data) < size || full && len(data) > size {
			return nil, fmt.Errorf("%s has %d bytes, not %d", tilePath(tile), len(data), size)
		}
		out[i] = data[:tile.W*tlog.HashSize]
	}
	return out, nil
}

// read fetches a tile or bundle. The log may drop a partial one once the full one exists, so that
// is asked for next.
func (r *tileReader) read(tile tlog.Tile) ([]byte, error) {
	if data, ok := r.seen[tile]; ok {
		return data, nil
	}
	data, err := r.c.get(tilePath(tile))
	if errors.Is(err, errNotFound) && tile.W < tileWidth {
		full := tile
		full.W = tileWidth
		if whole, fullErr := r.c.get(tilePath(full)); fullErr == nil {
			data, err = whole, nil
		}
	}
	if err != nil {
		return nil, err
	}
	r.seen[tile] = data
	return data, nil
}

// tilePath is the C2SP path of a tile: the package's own, without the height, and with bundles
// under another name.
func tilePath(tile tlog.Tile) string {
	rest := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tile.H))
	if tile.L == -1 {
		rest = "entries/" + strings.TrimPrefix(rest, "data/")
	}
	return "tile/" + rest
}

func (c *checker) get(path string) ([]byte, error) {
	request, err := http.NewRequest(http.MethodGet, c.url+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("/%s: %w", path, errNotFound)
	default:
		return nil, fmt.Errorf("/%s: %s", path, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyBytesMax+1))
	if err == nil && len(body) > bodyBytesMax {
		err = fmt.Errorf("/%s: more than %d bytes", path, bodyBytesMax)
	}
	return body, err
}

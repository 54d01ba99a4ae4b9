package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

const (
	packageWidth = 256
	// Packages in one request, few so that there are several requests.
	packagesMax  = 2
	requestsMax  = 1000
	mirrorInfo   = "text/x.tlog.mirror-info"
)

// push uploads a log to a mirror as C2SP tlog-mirror has it, with the proofs of transparency-dev/merkle,
// and checks the mirror's cosignatures with transparency-dev/formats. Then it has a subtree cosigned.
func push(ctx context.Context, args []string) error {
	flags, parse := flagsOf("push")
	to := flags.String("to", "", "submission prefix of the mirror")
	mirrorKeys := flags.String("mirror-keys", "", "verifier keys of the mirror, separated by commas")
	t, err := parse(args)
	if err != nil {
		return err
	}
	p := pusher{to: strings.TrimSuffix(*to, "/"), origin: t.verifier.Name()}
	for _, vkey := range strings.Split(*mirrorKeys, ",") {
		v, err := cosignerOf(vkey)
		if err != nil {
			return err
		}
		p.mirror = append(p.mirror, v)
	}
	checkpoint, raw, _, err := client.FetchCheckpoint(ctx, t.log.ReadCheckpoint, t.verifier, p.origin)
	if err != nil {
		return err
	}
	p.raw, p.size, p.tree = raw, checkpoint.Size, testonly.New(rfc6962.DefaultHasher)
	getSize := func(context.Context) (uint64, error) { return p.size, nil }
	bundles := client.EntryBundles(ctx, workers, getSize, t.log.ReadEntryBundle, 0, p.size)
	for entry, err := range client.Entries(bundles, entriesOf) {
		if err != nil {
			return err
		}
		p.entries = append(p.entries, entry.Entry)
		p.tree.AppendData(entry.Entry)
	}
	if !bytes.Equal(p.tree.Hash(), checkpoint.Hash) {
		return errors.New("the log's entries do not give its root")
	}
	if err := p.announce(); err != nil {
		return fmt.Errorf("add-checkpoint: %w", err)
	}
	lines, err := p.upload()
	if err != nil {
		return fmt.Errorf("add-entries: %w", err)
	}
	opened, err := note.Open(append(bytes.Clone(raw), lines...), note.VerifierList(p.mirror...))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != len(p.mirror) {
		return fmt.Errorf("%d of %d keys of the mirror have cosigned", len(opened.Sigs), len(p.mirror))
	}
	fmt.Printf("pushed: %d entries, cosigned by %d keys\n", p.size, len(opened.Sigs))
	return p.subtree(lines)
}

type pusher struct {
	to, origin string
	mirror     []note.Verifier
	raw        []byte
	size       uint64
	entries    [][]byte
	tree       *testonly.Tree
}

func cosignerOf(vkey string) (note.Verifier, error) {
	if v, err := fnote.NewMLDSAVerifier(vkey); err == nil {
		return v, nil
	}
	return fnote.NewVerifierForCosignatureV1(vkey)
}

func (p *pusher) post(path, contentType string, body []byte) (int, string, []byte, error) {
	request, err := http.NewRequest(http.MethodPost, p.to+"/"+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	request.Header.Set("Content-Type", contentType)
	if path == "add-entries" {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header.Get("Content-Type"), answer, err
}

func hashLines(hashes [][]byte) string {
	var lines strings.Builder
	for _, hash := range hashes {
		fmt.Fprintln(&lines, base64.StdEncoding.EncodeToString(hash))
	}
	return lines.String()
}

func (p *pusher) announce() error {
	old := uint64(0)
	for range 2 {
		var hashes [][]byte
		if old > 0 && old < p.size {
			var err error
			if hashes, err = p.tree.ConsistencyProof(old, p.size); err != nil {
				return err
			}
		}
		body := fmt.Sprintf("old %d\n%s\n%s", old, hashLines(hashes), p.raw)
		status, _, answer, err := p.post("add-checkpoint", "text/plain", []byte(body))
		if err != nil || status == http.StatusOK {
			return err
		}
		if status != http.StatusConflict {
			return fmt.Errorf("%d: %s", status, answer)
		}
		if old, err = strconv.ParseUint(strings.TrimSuffix(string(answer), "\n"), 10, 64); err != nil {
			return err
		}
	}
	return errors.New("another size each time")
}

func (p *pusher) upload() ([]byte, error) {
	start, ticket := p.size, []byte(nil)
	for range requestsMax {
		body, err := p.request(start, ticket)
		if err != nil {
			return nil, err
		}
		status, contentType, answer, err := p.post("add-entries", "application/octet-stream", body)
		if err != nil {
			return nil, err
		}
		if status == http.StatusOK {
			return answer, nil
		}
		if status != http.StatusAccepted && status != http.StatusConflict || contentType != mirrorInfo {
			return nil, fmt.Errorf("%d (%s): %s", status, contentType, answer)
		}
		lines := strings.Split(string(answer), "\n")
		if len(lines) != 4 || lines[0] != strconv.FormatUint(p.size, 10) {
			return nil, fmt.Errorf("%d: %q", status, answer)
		}
		if start, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
			return nil, err
		}
		if ticket, err = base64.StdEncoding.DecodeString(lines[2]); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("it does not come to an end")
}

func (p *pusher) request(start uint64, ticket []byte) ([]byte, error) {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(p.origin)))
	body = append(body, p.origin...)
	body = binary.BigEndian.AppendUint64(body, start)
	body = binary.BigEndian.AppendUint64(body, p.size)
	body = binary.BigEndian.AppendUint16(body, uint16(len(ticket)))
	body = append(body, ticket...)
	for range packagesMax {
		if start >= p.size {
			break
		}
		first := start / packageWidth * packageWidth
		end := min(first+packageWidth, p.size)
		for _, entry := range p.entries[start:end] {
			body = binary.BigEndian.AppendUint16(body, uint16(len(entry)))
			body = append(body, entry...)
		}
		hashes, err := p.tree.SubtreeConsistencyProof(first, end, p.size)
		if err != nil {
			return nil, err
		}
		body = append(body, byte(len(hashes)))
		for _, hash := range hashes {
			body = append(body, hash...)
		}
		start = end
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(body); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// subtree has the second bundle's subtree cosigned, by a checkpoint that carries the mirror's lines.
func (p *pusher) subtree(lines []byte) error {
	start, end := uint64(packageWidth), min(2*packageWidth, p.size)
	if end <= start {
		return nil
	}
	tree := testonly.New(rfc6962.DefaultHasher)
	tree.AppendData(p.entries[start:end]...)
	hash := tree.Hash()
	hashes, err := p.tree.SubtreeConsistencyProof(start, end, p.size)
	if err != nil {
		return err
	}
	text := p.raw[:bytes.LastIndex(p.raw, []byte("\n\n"))+1]
	body := fmt.Sprintf("subtree %d %d\n%s%s\n%s\n%s", start, end, hashLines([][]byte{hash}), hashLines(hashes), text, lines)
	status, _, answer, err := p.post("sign-subtree", "text/plain", []byte(body))
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("sign-subtree: %d: %s", status, answer)
	}
	for _, v := range p.mirror {
		v, ok := v.(fnote.SubtreeVerifier)
		if !ok {
			continue
		}
		fields := strings.Fields(string(answer))
		if len(fields) != 3 || fields[1] != v.Name() {
			return fmt.Errorf("sign-subtree: %q", answer)
		}
		blob, err := base64.StdEncoding.DecodeString(fields[2])
		if err != nil || len(blob) < 12 || binary.BigEndian.Uint32(blob) != v.KeyHash() {
			return fmt.Errorf("sign-subtree: %q", answer)
		}
		if time := binary.BigEndian.Uint64(blob[4:]); time != 0 {
			return fmt.Errorf("sign-subtree: a time: %d", time)
		}
		if !v.VerifySubtree(0, p.origin, start, end, hash, blob[4:]) {
			return errors.New("sign-subtree: the cosignature does not verify")
		}
		fmt.Printf("subtree: %d to %d cosigned\n", start, end)
		return nil
	}
	return errors.New("no key of the mirror signs subtrees")
}

// Stele-receipt-check verifies a COSE receipt of a stele log with other people's code, none of it
// shared with stele: github.com/veraison/go-cose takes the receipt apart and says what is signed,
// github.com/transparency-dev/merkle leads from leaf or older root to the root, and filippo.io/mldsa
// or the Go library checks the signature over it.
//
//	stele-receipt-check -receipt FILE -vkey VKEY -leaf FILE
//	stele-receipt-check -receipt FILE -vkey VKEY -old CHECKPOINT -new CHECKPOINT
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"filippo.io/mldsa"
	"github.com/fxamacker/cbor/v2"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/veraison/go-cose"
)

const (
	typeEd25519 = 0x01
	typeMLDSA44 = 0x06

	algorithmMLDSA44 = cose.Algorithm(-48)

	labelVDP         = int64(396)
	labelInclusion   = int64(-1)
	labelConsistency = int64(-2)
)

func main() {
	var c check
	flag.StringVar(&c.receipt, "receipt", "", "file with the receipt")
	flag.StringVar(&c.vkey, "vkey", "", "verifier key of the log that has signed it")
	flag.StringVar(&c.leaf, "leaf", "", "file with the leaf's bytes: a receipt of inclusion")
	flag.StringVar(&c.old, "old", "", "file with the older checkpoint: a receipt of consistency")
	flag.StringVar(&c.new, "new", "", "file with the newer checkpoint")
	flag.Parse()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("OK")
}

type check struct{ receipt, vkey, leaf, old, new string }

// inclusionProof and consistencyProof are those of RFC 9942, in its order.
type inclusionProof struct {
	_     struct{} `cbor:",toarray"`
	Size  uint64
	Index uint64
	Path  [][]byte
}

type consistencyProof struct {
	_    struct{} `cbor:",toarray"`
	Old  uint64
	New  uint64
	Path [][]byte
}

func (c check) run() error {
	bytes, err := os.ReadFile(c.receipt)
	if err != nil {
		return err
	}
	verifier, err := verifierOf(c.vkey)
	if err != nil {
		return err
	}
	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(bytes); err != nil {
		return err
	}
	root, err := c.root(message.Headers.Unprotected)
	if err != nil {
		return err
	}
	if message.Payload != nil {
		return errors.New("the payload is not detached")
	}
	message.Payload = root
	return message.Verify(nil, verifier)
}

// root is what the proof in the receipt leads to.
func (c check) root(header cose.UnprotectedHeader) ([]byte, error) {
	proofs, ok := header[labelVDP].(map[any]any)
	if !ok || len(proofs) != 1 {
		return nil, fmt.Errorf("no proof in %v", header)
	}
	one := func(label int64, into any) (bool, error) {
		all, ok := proofs[label].([]any)
		if !ok {
			return false, nil
		}
		encoded, ok := all[0].([]byte)
		if !ok || len(all) != 1 {
			return true, errors.New("the proof is not one string of bytes")
		}
		return true, cbor.Unmarshal(encoded, into)
	}
	hasher := rfc6962.DefaultHasher
	var included inclusionProof
	if is, err := one(labelInclusion, &included); is || err != nil {
		if err != nil {
			return nil, err
		}
		leaf, err := os.ReadFile(c.leaf)
		if err != nil {
			return nil, err
		}
		fmt.Printf("index %d of %d\n", included.Index, included.Size)
		return proof.RootFromInclusionProof(hasher, included.Index, included.Size, hasher.HashLeaf(leaf), included.Path)
	}
	var grown consistencyProof
	if is, err := one(labelConsistency, &grown); !is || err != nil {
		return nil, errors.Join(err, errors.New("a receipt of neither inclusion nor consistency"))
	}
	oldSize, oldRoot, err := checkpoint(c.old)
	if err != nil {
		return nil, err
	}
	newSize, newRoot, err := checkpoint(c.new)
	if err != nil {
		return nil, err
	}
	if oldSize != grown.Old || newSize != grown.New {
		return nil, fmt.Errorf("a receipt from %d to %d", grown.Old, grown.New)
	}
	fmt.Printf("%d is continued by %d\n", grown.Old, grown.New)
	return newRoot, proof.VerifyConsistency(hasher, grown.Old, grown.New, grown.Path, oldRoot, newRoot)
}

// checkpoint reads the size and root of a C2SP checkpoint.
func checkpoint(path string) (uint64, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	lines := strings.SplitN(string(text), "\n", 4)
	if len(lines) < 4 {
		return 0, nil, fmt.Errorf("%s is no checkpoint", path)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil {
		return 0, nil, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	return size, root, err
}

func verifierOf(vkey string) (cose.Verifier, error) {
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
		return cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(key[1:]))
	case typeMLDSA44:
		public, err := mldsa.NewPublicKey(mldsa.MLDSA44(), key[1:])
		return mldsa44{public}, err
	}
	return nil, fmt.Errorf("signature type %#x", key[0])
}

// mldsa44 is the algorithm of RFC 9964 that go-cose does not have.
type mldsa44 struct{ public *mldsa.PublicKey }

func (v mldsa44) Algorithm() cose.Algorithm { return algorithmMLDSA44 }

func (v mldsa44) Verify(content, signature []byte) error {
	return mldsa.Verify(v.public, content, signature, nil)
}

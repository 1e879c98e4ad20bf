// Holds Millrace's ledger against somebody else's verifier: the note and tlog packages behind the Go checksum database.
// Reads vectors/ledger/log.json (or the file named on the command line) and verifies the checkpoint's signature,
// inclusion and consistency proofs, and every tile and entry bundle up to the signed root.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type vectors struct {
	LogKey     string            `json:"logKey"`
	Checkpoint string            `json:"checkpoint"`
	Served     map[string][]byte `json:"served"`
	Inclusion  []struct {
		Index int64    `json:"index"`
		Proof [][]byte `json:"proof"`
	} `json:"inclusion"`
	Consistency []struct {
		Old   int64    `json:"old"`
		Root  []byte   `json:"root"`
		Proof [][]byte `json:"proof"`
	} `json:"consistency"`
}

func main() {
	path := "../../../vectors/ledger/log.json"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	if err := run(path); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(v.LogKey)
	if err != nil {
		return fmt.Errorf("verifier key: %w", err)
	}
	opened, err := note.Open([]byte(v.Checkpoint), note.VerifierList(verifier))
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	tree, err := parseCheckpoint(opened.Text)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, served{v.Served})
	for _, c := range v.Inclusion {
		leaves, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, c.Index)})
		if err != nil {
			return fmt.Errorf("tile of entry %d: %w", c.Index, err)
		}
		if err := tlog.CheckRecord(hashes(c.Proof), tree.N, tree.Hash, c.Index, leaves[0]); err != nil {
			return fmt.Errorf("inclusion of entry %d: %w", c.Index, err)
		}
		own, err := tlog.ProveRecord(tree.N, c.Index, reader)
		if err != nil || !same(own, hashes(c.Proof)) {
			return fmt.Errorf("inclusion of entry %d: Go's own proof differs (%v)", c.Index, err)
		}
	}
	for _, c := range v.Consistency {
		if err := tlog.CheckTree(hashes(c.Proof), tree.N, tree.Hash, c.Old, tlog.Hash(c.Root)); err != nil {
			return fmt.Errorf("consistency of %d with %d: %w", c.Old, tree.N, err)
		}
	}
	entries, err := checkBundles(v.Served, tree, reader)
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint of %s, %d entries: signature holds; %d inclusion proofs, %d consistency proofs, %d entries in bundles agree\n",
		verifier.Name(), tree.N, len(v.Inclusion), len(v.Consistency), entries)
	return nil
}

func parseCheckpoint(text string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return tlog.Tree{}, fmt.Errorf("checkpoint has %d lines", len(lines)-1)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// served reads tiles by their C2SP names, which leave out the height that Go's names have.
type served struct{ files map[string][]byte }

func (s served) Height() int { return 8 }

func (s served) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, 0, len(tiles))
	for _, t := range tiles {
		name := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		data, ok := s.files[name]
		if !ok {
			return nil, fmt.Errorf("no %s", name)
		}
		out = append(out, data)
	}
	return out, nil
}

func (s served) SaveTiles([]tlog.Tile, [][]byte) {}

func checkBundles(files map[string][]byte, tree tlog.Tree, reader tlog.HashReader) (int64, error) {
	var index int64
	for bundle := int64(0); index < tree.N; bundle++ {
		name := fmt.Sprintf("tile/entries/%03d", bundle)
		if left := tree.N - index; left < 256 {
			name += fmt.Sprintf(".p/%d", left)
		}
		data, ok := files[name]
		if !ok {
			return 0, fmt.Errorf("no %s", name)
		}
		for len(data) >= 2 {
			length := int(binary.BigEndian.Uint16(data))
			if len(data) < 2+length {
				return 0, fmt.Errorf("%s ends within an entry", name)
			}
			leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return 0, err
			}
			if tlog.RecordHash(data[2:2+length]) != leaf[0] {
				return 0, fmt.Errorf("entry %d is not the one in its tile", index)
			}
			data = data[2+length:]
			index++
		}
	}
	return index, nil
}

func hashes(list [][]byte) []tlog.Hash {
	out := make([]tlog.Hash, 0, len(list))
	for _, h := range list {
		out = append(out, tlog.Hash(h))
	}
	return out
}

func same(a, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

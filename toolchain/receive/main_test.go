package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func sum(text []byte) string {
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:])
}

// Each content is a frame of its own, as the sender's cached files are.
func compressed(t *testing.T, contents ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, text := range contents {
		encoder, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := encoder.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := encoder.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// Receive returns the error's text, what was printed, and the store.
func receive(t *testing.T, sent []byte, contents ...[]byte) (string, string, string) {
	t.Helper()
	inbox, store := t.TempDir(), t.TempDir()
	args := []string{inbox, store}
	for _, text := range contents {
		args = append(args, sum(text), fmt.Sprint(len(text)))
	}
	var out bytes.Buffer
	if err := run(args, bytes.NewReader(sent), &out); err != nil {
		return err.Error(), out.String(), store
	}
	return "", out.String(), store
}

func assertStored(t *testing.T, store string, contents ...[]byte) {
	t.Helper()
	entries, err := os.ReadDir(store)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(contents) {
		t.Errorf("%d files are in the store, expected %d", len(entries), len(contents))
	}
	for _, text := range contents {
		path := filepath.Join(store, sum(text))
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %v, or another content", path, err)
		}
		if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, or another mode", path, err)
		}
	}
}

func large(seed int64, size int) []byte {
	text := make([]byte, size)
	rand.New(rand.NewSource(seed)).Read(text)
	return text
}

func TestKeepsAll(t *testing.T) {
	// Below, at and above the size of a block.
	contents := [][]byte{[]byte("first"), large(1, blockSize), large(2, 5*blockSize+7), {}, []byte("last")}
	problem, said, store := receive(t, compressed(t, contents...), contents...)
	if problem != "" || said != "" {
		t.Errorf("got %q, and %q was said", problem, said)
	}
	assertStored(t, store, contents...)
}

func TestAnotherContentIsNamedAndNotKept(t *testing.T) {
	first, second := []byte("first"), []byte("second")
	problem, said, store := receive(t, compressed(t, first, []byte("sEcond")), first, second)
	if said != "damaged "+sum(second)+"\n" {
		t.Errorf("said %q", said)
	}
	if !strings.HasPrefix(problem, "SHA-256 "+sum([]byte("sEcond"))+" arrived on ") || !strings.Contains(problem, "expected "+sum(second)) {
		t.Errorf("got %q", problem)
	}
	assertStored(t, store, first)
}

func TestABrokenStreamIsDamage(t *testing.T) {
	text := large(3, 3*blockSize)
	sent := compressed(t, text)
	// What a frame begins with.
	sent[0] ^= 1
	problem, said, store := receive(t, sent, text)
	if said != "damaged "+sum(text)+"\n" || !strings.Contains(problem, "did not arrive as it was sent") {
		t.Errorf("got %q, and %q was said", problem, said)
	}
	assertStored(t, store)
}

func TestACutKeepsWhatWasWhole(t *testing.T) {
	first, second := []byte("first"), large(4, 3*blockSize)
	whole := compressed(t, first, second)
	for _, sent := range [][]byte{whole[:len(whole)-blockSize], compressed(t, first)} {
		problem, said, store := receive(t, sent, first, second)
		if said != "damaged "+sum(second)+"\n" || !strings.HasPrefix(problem, "got ") || !strings.Contains(problem, fmt.Sprintf(" of %d bytes of %s on ", len(second), sum(second))) ||
			!strings.HasSuffix(problem, ": the connection was cut. Run 'pulumi up' again: what has arrived is kept.") {
			t.Errorf("got %q, and %q was said", problem, said)
		}
		assertStored(t, store, first)
	}
}

func TestWhatCannotBeWrittenIsToldWithWhatToDo(t *testing.T) {
	text := large(5, 3<<20)
	store := t.TempDir()
	err := run([]string{filepath.Join(store, "none"), store, sum(text), fmt.Sprint(len(text))}, bytes.NewReader(compressed(t, text)), os.Stderr)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot write to "+store+" on ") || !strings.Contains(err.Error(), ": no such file or directory. Correct that") {
		t.Errorf("got %v", err)
	}
	full := unwritable{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}
	if told := explain(full, store, []content{{"x", 3 << 20}}).Error(); !strings.Contains(told, " MiB are free there. Free 4 MiB for what is missing, then run") {
		t.Errorf("got %q", told)
	}
	// The device that is always full.
	if _, err := os.Stat("/dev/full"); err == nil {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer full.Close()
		if _, writeErr, _ := copyBeside(full, bytes.NewReader(large(6, 9*blockSize))); writeErr == nil {
			t.Error("a full device was not noticed")
		}
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c", "many"}} {
		if err := run(args, bytes.NewReader(nil), os.Stderr); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

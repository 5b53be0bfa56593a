// Plainkube-receive takes files from standard input into a store: one Zstandard stream of their contents, one after the other.
// Each is hashed as it is written, and kept under its SHA-256 if it is what it should be. It runs on a host for the length of one
// upload, started by components/binaries/receive.sh.
//
//	plainkube-receive INBOX STORE SHA256 SIZE [SHA256 SIZE]…
//
// INBOX is a folder on the file system of STORE. What has arrived whole stays in STORE, however the rest ends. Prints
// `damaged SHA256` for a content that is not what it should be, or not all of it. Ends with 1 and a message on standard error if anything is missing.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// Content is what a file should hold.
type content struct {
	sha256 string
	size   int64
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "plainkube: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) < 4 || len(args)%2 != 0 {
		return fmt.Errorf("usage: plainkube-receive INBOX STORE SHA256 SIZE [SHA256 SIZE]…")
	}
	inbox, store := args[0], args[1]
	var contents []content
	for pairs := args[2:]; len(pairs) > 0; pairs = pairs[2:] {
		size, err := strconv.ParseInt(pairs[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: got %q, expected a number of bytes", pairs[0], pairs[1])
		}
		contents = append(contents, content{sha256: pairs[0], size: size})
	}
	// One routine reads, so that the connection goes on meanwhile, one unpacks, and take hashes and writes.
	stream, err := zstd.NewReader(readAhead(in), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer stream.Close()
	for i, wanted := range contents {
		if err := take(wanted, stream, inbox, store, out); err != nil {
			return explain(err, store, contents[i:])
		}
	}
	return nil
}

// A lost connection leaves less than was said.
type lost struct {
	content
	got int64
}

func (l lost) Error() string {
	return fmt.Sprintf("got %d of %d bytes of %s", l.got, l.size, l.sha256)
}

// Unwritable is why a file could not be written.
type unwritable struct{ error }

// Damaged is a content that is not what it should be.
type damaged struct{ why string }

func (d damaged) Error() string { return d.why }

// Take writes one content beside the store, and into it if it is what it should be.
func take(wanted content, in io.Reader, inbox, store string, out io.Writer) error {
	path := filepath.Join(inbox, wanted.sha256)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return unwritable{err}
	}
	defer file.Close()
	hash := sha256.New()
	got, writeErr, readErr := copyBeside(io.MultiWriter(file, hash), io.LimitReader(in, wanted.size))
	if writeErr != nil {
		return unwritable{writeErr}
	}
	if err := file.Close(); err != nil {
		return unwritable{err}
	}
	if readErr != nil {
		fmt.Fprintf(out, "damaged %s\n", wanted.sha256)
		return damaged{fmt.Sprintf("%s did not arrive as it was sent to %s: %v. It was not kept.", wanted.sha256, hostname(), readErr)}
	}
	if got < wanted.size {
		// The sender knows whether it is that, or the connection.
		fmt.Fprintf(out, "damaged %s\n", wanted.sha256)
		return lost{wanted, got}
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != wanted.sha256 {
		fmt.Fprintf(out, "damaged %s\n", wanted.sha256)
		return damaged{fmt.Sprintf("SHA-256 %s arrived on %s; expected %s. It was not kept.", sum, hostname(), wanted.sha256)}
	}
	// Whatever the umask is.
	if err := os.Chmod(path, 0o755); err != nil {
		return unwritable{err}
	}
	if err := os.Rename(path, filepath.Join(store, wanted.sha256)); err != nil {
		return unwritable{err}
	}
	return nil
}

const (
	blockSize = 256 << 10
	blocks    = 4
	// Linux takes large pieces into large pages, which a virtual machine may have to ask for first: up to four times the work.
	pieceSize = 16 << 10
	// What a pipe holds.
	aheadSize = 64 << 10
	ahead     = 64
)

// Blocks are what has been read of a stream, by another routine.
type stream struct {
	free  chan []byte
	full  chan []byte
	err   error
	block []byte
	rest  []byte
}

// ReadBeside reads on into `count` blocks while what it has read is worked on. A block is full unless it is the last, or `partly`.
func readBeside(from io.Reader, size, count int, partly bool) *stream {
	s := &stream{free: make(chan []byte, count), full: make(chan []byte, count)}
	for range count {
		s.free <- make([]byte, size)
	}
	go func() {
		defer close(s.full)
		for block := range s.free {
			read := func() (int, error) { return io.ReadFull(from, block[:size]) }
			if partly {
				read = func() (int, error) { return from.Read(block[:size]) }
			}
			n, err := read()
			s.full <- block[:n]
			if err != nil {
				s.err = err
				return
			}
		}
	}()
	return s
}

// ReadAhead is a reader of what comes, as soon as it comes.
func readAhead(from io.Reader) io.Reader { return readBeside(from, aheadSize, ahead, true) }

func (s *stream) Read(to []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.block != nil {
			s.free <- s.block
			s.block = nil
		}
		block, ok := <-s.full
		if !ok {
			return 0, s.err
		}
		s.block, s.rest = block[:cap(block)], block
	}
	n := copy(to, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// CopyBeside copies like io.Copy, reading the next while it writes the last.
func copyBeside(to io.Writer, from io.Reader) (written int64, writeErr, readErr error) {
	s := readBeside(from, blockSize, blocks, false)
	for block := range s.full {
		if writeErr != nil {
			continue
		}
		var n int64
		n, writeErr = inPieces(to, block)
		written += n
		if writeErr == nil {
			s.free <- block[:blockSize]
		} else {
			close(s.free)
		}
	}
	if s.err != io.EOF && s.err != io.ErrUnexpectedEOF {
		readErr = s.err
	}
	return written, writeErr, readErr
}

func inPieces(to io.Writer, block []byte) (written int64, err error) {
	for len(block) > 0 && err == nil {
		var n int
		n, err = to.Write(block[:min(pieceSize, len(block))])
		written += int64(n)
		block = block[n:]
	}
	return written, err
}

// Explain tells what a person can do about it; `missing` is what is not there.
func explain(err error, store string, missing []content) error {
	var (
		cut  lost
		full unwritable
	)
	switch {
	case errors.As(err, &cut):
		return fmt.Errorf("%w on %s: the connection was cut. Run 'pulumi up' again: what has arrived is kept.", err, hostname())
	case errors.As(err, &full):
		var total int64
		for _, wanted := range missing {
			total += wanted.size
		}
		if errors.Is(full.error, syscall.ENOSPC) || errors.Is(full.error, syscall.EDQUOT) {
			return fmt.Errorf("cannot write to %s on %s: %d MiB are free there. Free %d MiB for what is missing, then run 'pulumi up' again: what has arrived is kept.",
				store, hostname(), freeMiB(store), total>>20+1)
		}
		return fmt.Errorf("cannot write to %s on %s: %w. Correct that, then run 'pulumi up' again: what has arrived is kept.", store, hostname(), cause(full.error))
	default:
		return err
	}
}

// Cause is an error without the path.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func freeMiB(path string) uint64 {
	var stat syscall.Statfs_t
	if syscall.Statfs(path, &stat) != nil {
		return 0
	}
	return stat.Bavail * uint64(stat.Bsize) >> 20
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "this host"
	}
	return name
}

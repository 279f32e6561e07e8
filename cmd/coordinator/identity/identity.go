// Package identity tells one coordinator from another.
package identity

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Identity is what tells one coordinator from another: an id that is kept in its data folder, and which no other process has while this one
// lives.
type Identity struct {
	ID   string
	file *os.File // locked
}

// Take makes the folder and takes it for this process. A new folder gets a random id. The lock ends with Close, or with the process.
func Take(dir string) (*Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "coordinator-id"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take data directory: %w", err)
	}
	i := &Identity{file: f}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%s is in use by another coordinator", dir)
		}
		return nil, fmt.Errorf("take data directory: %w", errors.Join(err, f.Close()))
	}
	if i.ID, err = readID(f); err != nil {
		return nil, fmt.Errorf("take data directory: %s: %w", f.Name(), errors.Join(err, f.Close()))
	}
	return i, nil
}

const (
	idBytes = 16
	maxID   = 256 // bytes of the file
)

// readID reads the id, or makes one where there is none that is whole: a crash may have left half of it.
func readID(f *os.File) (string, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxID))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if b, err := hex.DecodeString(id); err == nil && len(b) == idBytes {
		return id, nil
	}
	b := make([]byte, idBytes)
	_, _ = rand.Read(b) // never fails
	id = hex.EncodeToString(b)
	if err := f.Truncate(0); err != nil {
		return "", err
	}
	if _, err := f.WriteAt([]byte(id+"\n"), 0); err != nil {
		return "", err
	}
	return id, f.Sync()
}

// Close gives the folder back.
func (i *Identity) Close() { _ = i.file.Close() } // it was only locked

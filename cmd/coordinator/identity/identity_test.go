package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir); err == nil || !strings.Contains(err.Error(), "in use by another coordinator") {
		t.Errorf("folder in use: got %v, want it refused", err)
	}
	first.Close()
	again, err := Take(dir)
	if err != nil || again.ID != first.ID || len(first.ID) != 2*idBytes {
		t.Fatalf("got %+v, %v, want the same id of %d digits, %s", again, err, 2*idBytes, first.ID)
	}
	again.Close()
	if err := os.WriteFile(filepath.Join(dir, "coordinator-id"), []byte(first.ID[:9]), 0o600); err != nil { // a crash left half of it
		t.Fatal(err)
	}
	other, err := Take(dir)
	if err != nil || len(other.ID) != 2*idBytes || other.ID == first.ID {
		t.Fatalf("after half an id: got %+v, %v, want a new one", other, err)
	}
	other.Close()
	if again, err = Take(dir); err != nil || again.ID != other.ID {
		t.Errorf("got %+v, %v, want the new id kept, %s", again, err, other.ID)
	}
}

// Package leaves has a test that leaves files, some of which are called as the runner's own.
package leaves

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLeaves(t *testing.T) {
	dir := os.Getenv("TCPLAB_ARTEFACTS")
	if dir == "" {
		t.Fatal("no TCPLAB_ARTEFACTS")
	}
	for _, name := range []string{"capture.pcapng", "record.json", "output.txt", "other/scenario/record.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"verdict": "passed"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

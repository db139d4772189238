package results

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/tcplab/tcplab/internal/scratch"
)

// Artefacts lists the regular files in dir and below, sorted by path, with size and hash: what a record of this
// folder puts into its field of the same name. The record itself is left out. A file that is neither regular nor a
// folder is an error: a symbolic link would be evidence that lies elsewhere.
//
// Call it when everything that writes into dir has ended.
func Artefacts(dir string) ([]Artefact, error) {
	list := []Artefact{}
	err := eachArtefact(dir, func(root *os.Root, name string) error {
		a, err := artefact(root, name)
		list = append(list, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// CheckArtefacts returns the error that Artefacts would return for the files that are in dir and below, without reading them:
// for who writes them where it is dear, and leaves it to another to list and hash them.
func CheckArtefacts(dir string) error {
	return eachArtefact(dir, func(*os.Root, string) error { return nil })
}

func eachArtefact(dir string, do func(root *os.Root, name string) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("list artefacts: %w", err)
	}
	defer func() { _ = root.Close() }() // read only: there is nothing that an error could tell
	names, err := files(root)
	if err != nil {
		return fmt.Errorf("list artefacts of %s: %w", dir, err)
	}
	for _, name := range names {
		if err := do(root, name); err != nil {
			return fmt.Errorf("list artefacts of %s: %w", dir, err)
		}
	}
	return nil
}

// files returns the paths of all regular files under root except the record, sorted.
func files(root *os.Root) ([]string, error) {
	var names []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && scratch.Is(d.Name()):
			return fs.SkipDir // of a writer that was killed, or writes
		case d.IsDir():
			return nil
		case name == FileName || temporary(name):
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: is not a regular file but %v", name, d.Type())
		}
		if err := checkPath(name); err != nil {
			return err
		}
		names = append(names, name)
		return nil
	})
	slices.Sort(names) // the walk has a folder's files where the folder stands: "a/b" in front of "a.b"
	return names, err
}

func artefact(root *os.Root, name string) (Artefact, error) {
	f, err := root.Open(name)
	if err != nil {
		return Artefact{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Artefact{}, err
	}
	return Artefact{Path: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

package peers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Command runs any other program as a peer. It is ready and started when its process is; Stop sends SIGTERM. Its exit
// status is a result; [Peer.Fault] reports one that nobody asked for. When it has ended, the rest of its process
// group is killed. Its standard input is empty.
type Command struct {
	Path string   `json:"path"`           // absolute, or with a slash relative to Dir, or a name that is looked up in this process's PATH
	Args []string `json:"args,omitempty"` // without the program's name
	Env  []string `json:"env,omitempty"`  // "NAME=value", added to this process's environment
	Dir  string   `json:"dir,omitempty"`  // "" is this process's
	// MaxOutput is how many bytes of stdout and of stderr are kept, the last ones. 0 is 1 MiB.
	MaxOutput int `json:"max_output,omitempty"`
}

// defaultMaxOutput is that of Command.
const defaultMaxOutput = 1 << 20

func (Command) program() string { return "command" }

// Validate implements [Program].
func (p Command) Validate() error {
	c := check{program: p.program()}
	if p.Path == "" {
		c.fail("Path", nil, "needs the path or the name of a program")
	}
	for _, list := range []struct {
		field  string
		values []string
	}{{"Path", []string{p.Path}}, {"Args", p.Args}, {"Env", p.Env}, {"Dir", []string{p.Dir}}} {
		if i := slices.IndexFunc(list.values, func(s string) bool { return strings.ContainsRune(s, 0) }); i >= 0 {
			c.fail(list.field, list.values[i], "must not contain a NUL byte")
		}
	}
	for _, e := range p.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			c.fail("Env", e, "must be NAME=value")
		}
	}
	if p.MaxOutput < 0 || p.MaxOutput == 1 {
		c.fail("MaxOutput", p.MaxOutput, "must be 0 for 1 MiB, or at least 2 bytes")
	}
	return c.err
}

// resolve returns Path as exec wants it.
func (p Command) resolve() (string, error) {
	if filepath.IsAbs(p.Path) || strings.ContainsRune(p.Path, os.PathSeparator) {
		return p.Path, nil
	}
	path, err := exec.LookPath(p.Path)
	return path, p.explain(err)
}

// explain adds to the error of a start in a guest that a guest only has the files packed into it.
func (p Command) explain(err error) error {
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) || os.Getenv("TCPLAB_CLOCK") != "virtual" {
		return err
	}
	path := p.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Dir, path)
	}
	if _, statErr := os.Stat(path); statErr == nil {
		return fmt.Errorf("%w: it is in the guest, and what it is run by is not (the shell of a script, the loader of a program, or "+
			"the folder to start in): pack that into the guest with --include", err)
	}
	include := p.Path
	if !strings.ContainsRune(include, os.PathSeparator) {
		include = "$(which " + include + ")"
	}
	return fmt.Errorf("%w: it is not in the guest: pack it in with --include %s", err, include)
}

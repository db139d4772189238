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
	"syscall"
)

// Command runs any other program as a peer. It is ready and started when its process is, unless Ready says otherwise;
// Stop sends SIGTERM. Its exit status is a result; [Peer.Fault] reports one that nobody asked for. When it has ended, the
// rest of its process group is killed.
//
//	peers.Command{Path: "/usr/sbin/nginx", Args: []string{"-c", conf}, Ready: peers.Readiness{Port: 80}}
//	peers.Command{Path: "initdb", Args: []string{"-D", dir}, User: "postgres", Ready: peers.Readiness{End: true}}
//	peers.Command{Path: "nc", Args: []string{"10.0.2.2", "80"}, Stdin: []byte("GET / HTTP/1.0\r\n\r\n")}
//	peers.Command{Path: "curl", Args: []string{"-m1", url}, ExitStatuses: []int{28}} // it has to time out
type Command struct {
	Path string   `json:"path"`           // absolute, or with a slash relative to Dir, or a name that is looked up in this process's PATH
	Args []string `json:"args,omitempty"` // without the program's name
	Env  []string `json:"env,omitempty"`  // "NAME=value", added to this process's environment
	Dir  string   `json:"dir,omitempty"`  // "" is this process's
	// User is whom the process runs as: a name of /etc/passwd, with the groups of /etc/group, or "uid:gid", with no other
	// group. "" is this process's. Of the environment, nothing changes with it, HOME neither. Another user needs root.
	User string `json:"user,omitempty"`
	// Stdin is what the process reads from its standard input, a pipe, up to 1 MiB. StdinFile is a file instead, relative
	// to Dir, which this process opens and not the user. With neither it is empty.
	Stdin     []byte `json:"stdin,omitempty"`
	StdinFile string `json:"stdin_file,omitempty"`
	// Ready says when it is ready.
	Ready Readiness `json:"ready,omitzero"`
	// ExitStatuses are those that are no fault, each 0 to 255. None is 0 only, and 0 is one only if it is listed.
	ExitStatuses []int `json:"exit_statuses,omitempty"`
	// MaxOutput is how many bytes of stdout and of stderr are kept, the last ones. 0 is 1 MiB.
	MaxOutput int `json:"max_output,omitempty"`
}

// Bounds of a Command.
const (
	defaultMaxOutput = 1 << 20 // bytes
	maxStdin         = 1 << 20 // bytes
	maxExitStatus    = 255     // exit(3)
)

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
	}{
		{"Path", []string{p.Path}}, {"Args", p.Args}, {"Env", p.Env}, {"Dir", []string{p.Dir}}, {"StdinFile", []string{p.StdinFile}},
	} {
		if i := slices.IndexFunc(list.values, func(s string) bool { return strings.ContainsRune(s, 0) }); i >= 0 {
			c.fail(list.field, list.values[i], "must not contain a NUL byte")
		}
	}
	for _, e := range p.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			c.fail("Env", e, "must be NAME=value")
		}
	}
	c.user(p.User)
	switch {
	case len(p.Stdin) > maxStdin:
		c.fail("Stdin", fmt.Sprintf("%d bytes", len(p.Stdin)), fmt.Sprintf("want %d at most: use StdinFile", maxStdin))
	case len(p.Stdin) > 0 && p.StdinFile != "":
		c.fail("StdinFile", p.StdinFile, "only one of Stdin and StdinFile can be set")
	}
	c.readiness(p.Ready)
	for _, status := range p.ExitStatuses {
		c.atMost("ExitStatuses", int64(status), maxExitStatus)
	}
	if p.MaxOutput < 0 || p.MaxOutput == 1 {
		c.fail("MaxOutput", p.MaxOutput, "must be 0 for 1 MiB, or at least 2 bytes")
	}
	return c.err
}

// accepts reports whether an exit status is no fault.
func (p Command) accepts(status int) bool {
	if len(p.ExitStatuses) == 0 {
		return status == 0
	}
	return slices.Contains(p.ExitStatuses, status)
}

// line is the command line, with all that the process needs found.
func (p Command) line() (*exec.Cmd, error) {
	if p.Dir != "" {
		switch info, err := os.Stat(p.Dir); {
		case err != nil:
			return nil, fmt.Errorf("the folder to start in: %w", err)
		case !info.IsDir():
			return nil, fmt.Errorf("the folder to start in: %s is none", p.Dir)
		}
	}
	path, err := p.resolve()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: append([]string{p.Path}, p.Args...), Dir: p.Dir, SysProcAttr: &syscall.SysProcAttr{}}
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr.Credential, err = credential(p.User)
	return cmd, err
}

// stdin opens the standard input of the process; feed is what to write Stdin to, or nil.
func (p Command) stdin() (in, feed *os.File, err error) {
	switch {
	case len(p.Stdin) > 0:
		return os.Pipe()
	case p.StdinFile == "":
		in, err = os.Open(os.DevNull)
		return in, nil, err
	}
	path := p.StdinFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Dir, path)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is no file", path) // to open a FIFO could wait for ever
	}
	if err == nil {
		in, err = os.Open(path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("standard input: %w", err)
	}
	return in, nil, nil
}

// resolve returns Path as exec wants it.
func (p Command) resolve() (string, error) {
	if filepath.IsAbs(p.Path) || strings.ContainsRune(p.Path, os.PathSeparator) {
		return p.Path, nil
	}
	path, err := exec.LookPath(p.Path)
	return path, p.explain(err)
}

// explain adds to the error of a start what a user may not do, and that a guest only has the files packed into it.
func (p Command) explain(err error) error {
	if errors.Is(err, fs.ErrPermission) && p.User != "" {
		return fmt.Errorf("%w: as user %s: that needs root, and a program and folders that the user may use", err, p.User)
	}
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

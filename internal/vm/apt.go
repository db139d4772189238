package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/vm/guest"
)

// An aptClient calls apt-get and apt-cache. With lists of its own it looks at the archives that
// the system is configured for, and more if asked, without touching the system's lists or
// configuration.
type aptClient struct {
	dir      string   // its working directory, where packages are downloaded to
	state    string   // where it keeps lists of its own; empty: dir
	ownLists bool     // keeps package lists of its own
	sources  string   // a directory instead of /etc/apt/sources.list.d; empty: that one
	alone    bool     // sources are all there are, and no package counts as installed
	guests   bool     // looks for packages for guests, on a machine of another architecture
	insecure bool     // takes sources that nobody has signed: for tests
	prefix   []string // of each command, such as sudo
}

// guestPackages are the options by which apt, on a machine of another architecture, sees the packages for guests. Nothing
// is kept of that among the system's own.
var guestPackages = []string{
	"-o", "APT::Architecture=" + guest.Arch, "-o", "APT::Architectures::=" + guest.Arch, // Debian calls it as Go does
	"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
}

func (a aptClient) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	// As root apt would drop to a user that cannot write into our directory, and warn.
	options := []string{"-q", "-o", "APT::Sandbox::User=root"}
	if a.ownLists {
		options = append(options,
			"-o", "Dir::State::Lists="+filepath.Join(a.stateDir(), "lists"),
			"-o", "Dir::Cache="+filepath.Join(a.stateDir(), "cache"),
			"-o", "APT::Update::Pre-Invoke::=", "-o", "APT::Update::Post-Invoke::=",
		)
		if len(a.prefix) == 0 && os.Geteuid() != 0 {
			options = append(options, "-o", "Debug::NoLocking=true")
		}
	}
	if a.sources != "" {
		options = append(options, "-o", "Dir::Etc::SourceParts="+a.sources)
	}
	if a.alone {
		options = append(options, "-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::State::Status=/dev/null",
			"-o", "Dir::Etc::Preferences=/dev/null", "-o", "Dir::Etc::PreferencesParts=/dev/null")
	}
	if a.guests {
		options = append(options, guestPackages...)
	}
	if a.insecure {
		options = append(options, "-o", "Acquire::AllowInsecureRepositories=true", "-o", "APT::Get::AllowUnauthenticated=true")
	}
	var stdout, stderr bytes.Buffer
	output := io.Writer(&stdout)
	if status := followApt(ctx, args); status != nil {
		options = append(options, aptStatusOptions...)
		output = status
		defer status.Done()
	}
	words := slices.Concat(a.prefix, []string{program}, options, args)
	command := exec.Command(words[0], words[1:]...)
	command.Dir = a.dir
	command.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if len(a.prefix) > 0 {
		command.Stdin = os.Stdin // sudo may ask; apt by itself has no business with a terminal, which stops it in the background
	}
	command.Stdout, command.Stderr = output, &stderr
	if err := a.start(ctx, command, args[0]); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, lastLine(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// start runs a command, which ends with this process, and so does what it has started to download. But what installs
// is only asked to stop when ctx ends, and goes on if this process is killed: a package that is half installed is worse
// than one that nobody waits for. And sudo is not ours to kill.
func (a aptClient) start(ctx context.Context, command *exec.Cmd, subcommand string) error {
	if len(a.prefix) == 0 && subcommand != "install" {
		return subprocess.RunTree(ctx, command, 0, 0)
	}
	if err := command.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = command.Process.Signal(os.Interrupt) })
	defer stop()
	return command.Wait()
}

func (a aptClient) stateDir() string {
	if a.state != "" {
		return a.state
	}
	return a.dir
}

// update fetches the client's own lists.
func (a aptClient) update(ctx context.Context) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.stateDir(), dir), 0o755); err != nil {
			return err
		}
	}
	_, err := a.run(ctx, "apt-get", "update")
	return err
}

// An aptPackage is one version of a package, in the client's lists.
type aptPackage struct {
	Name, Version string
	Depends       []string // names only, alternatives included
	Bytes         int64    // of the package
	SHA256        string
}

// packages lists the packages whose names have a prefix and are wanted, in all their versions.
func (a aptClient) packages(ctx context.Context, prefix string, wanted *regexp.Regexp) ([]aptPackage, error) {
	output, err := a.run(ctx, "apt-cache", "pkgnames", prefix)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.FieldsSeq(string(output)) {
		if wanted.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	// Of a package that only others depend on it knows the name, and nothing more: with --quiet that is no error.
	output, err = a.run(ctx, "apt-cache", append([]string{"show"}, names...)...)
	if err != nil {
		return nil, err
	}
	return readPackages(bytes.NewReader(output))
}

// readPackages reads a list of packages, as apt-cache show prints it and an archive has it.
func readPackages(list io.Reader) (packages []aptPackage, err error) {
	r := bufio.NewReader(list)
	for {
		fields, err := readStanza(r)
		if errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("list of packages: %w", err)
		}
		size, err := strconv.ParseInt(fields.Get("Size"), 10, 64)
		if err != nil && fields.Get("Size") != "" {
			return nil, fmt.Errorf("list of packages: %s: %w", fields.Get("Package"), err)
		}
		packages = append(packages, aptPackage{
			Name: fields.Get("Package"), Version: fields.Get("Version"), Depends: dependencies(fields.Get("Depends")),
			Bytes: size, SHA256: fields.Get("SHA256"),
		})
	}
}

// dependencies are the names in a field such as "a (>= 1), b | c:any".
func dependencies(field string) (names []string) {
	for name := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == ',' || r == '|' }) {
		name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		name, _, _ = strings.Cut(name, ":")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// download downloads packages, each in the version that it has here, into a directory.
func (a aptClient) download(ctx context.Context, packages []aptPackage, dir string) (paths []string, err error) {
	args := []string{"download"}
	for _, p := range packages {
		args = append(args, p.Name+"="+p.Version)
	}
	a.dir, a.state = dir, a.stateDir()
	if _, err := a.run(ctx, "apt-get", args...); err != nil {
		return nil, err
	}
	for _, p := range packages {
		found, err := filepath.Glob(filepath.Join(dir, p.Name+"_*.deb"))
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("apt-get download %s left %d packages in %s", p.Name, len(found), dir)
		}
		paths = append(paths, found[0])
	}
	return paths, nil
}

// codename asks an archive which release an alias, such as stable, stands for.
func (a aptClient) codename(ctx context.Context, archive, alias string) (string, error) {
	path := filepath.Join(a.dir, alias+"-Release")
	address := strings.TrimSuffix(archive, "/") + "/dists/" + alias + "/Release"
	if _, err := a.run(ctx, aptHelper, "download-file", address, path); err != nil {
		return "", err
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	fields, err := readStanza(bufio.NewReader(file))
	if err != nil {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	if codename := fields.Get("Codename"); codenameText.MatchString(codename) {
		return codename, nil
	}
	return "", fmt.Errorf("%s: its Codename is %q", address, fields.Get("Codename"))
}

// aptHelper is part of apt.
const aptHelper = "/usr/lib/apt/apt-helper"

var codenameText = regexp.MustCompile(`^[a-z]+$`)

// debianKeyring signs Debian's archives, backports among them.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// withBackports returns a client that also looks at the backports of the system's Debian
// release, in the archive that the release itself is from.
func (a aptClient) withBackports(ctx context.Context) (client aptClient, suite string, err error) {
	if !a.ownLists {
		return a, "", errors.New("backports need lists of their own")
	}
	codename, err := debianCodename()
	if err != nil {
		return a, "", err
	}
	archive, err := a.debianArchive(ctx)
	if err != nil {
		return a, "", err
	}
	a.sources = filepath.Join(a.dir, "sources")
	err = os.CopyFS(a.sources, os.DirFS("/etc/apt/sources.list.d"))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(a.sources, 0o755)
	}
	if err != nil {
		return a, "", err
	}
	suite = codename + "-backports"
	if err := writeSource(a.sources, archive, suite); err != nil {
		return a, "", err
	}
	return a, suite, a.update(ctx)
}

// onlySuite returns a client that looks at one suite of Debian's archive and at nothing else,
// whatever release of Debian this is.
func (a aptClient) onlySuite(ctx context.Context, archive, suite string) (aptClient, error) {
	a.ownLists, a.alone = true, true
	a.sources = filepath.Join(a.dir, "sources")
	if err := os.MkdirAll(a.sources, 0o755); err != nil {
		return a, err
	}
	if err := writeSource(a.sources, archive, suite); err != nil {
		return a, err
	}
	return a, a.update(ctx)
}

// errNoArchive is for machines that are not Debian.
var errNoArchive = errors.New("none of apt's sources is Debian's own archive (apt-get indextargets shows none with origin and label Debian and " +
	"component main), and there is no " + debianKeyring + ": install debian-archive-keyring")

// debianArchive is the address of the archive of Debian's releases that this system is
// configured for.
func (a aptClient) debianArchive(ctx context.Context) (string, error) {
	targets, err := a.run(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	if archive, found := findArchive(string(targets)); found {
		return archive, nil
	}
	// Elsewhere, too, its packages can be checked if its keys are there.
	if _, err := os.Stat(debianKeyring); err == nil {
		return defaultArchive, nil
	}
	return "", errNoArchive
}

const defaultArchive = "http://deb.debian.org/debian"

// findArchive finds Debian's own archive in a list of index files, and neither its security
// archive, whose label is another, nor that of a derivative.
func findArchive(targets string) (archive string, found bool) {
	for line := range strings.Lines(targets) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) == 4 && fields[0] == "Debian" && fields[1] == "Debian" && fields[2] == "main" {
			return fields[3], true
		}
	}
	return "", false
}

// writeSource adds one suite of Debian's archive to a directory of sources.
func writeSource(dir, archive, suite string) error {
	options := "target=Packages" // neither translations nor what a shop for programs shows
	if _, err := os.Stat(debianKeyring); err == nil {
		options += " signed-by=" + debianKeyring
	}
	line := fmt.Sprintf("deb [%s] %s %s main\n", options, archive, suite)
	return os.WriteFile(filepath.Join(dir, "tcplab-"+suite+".list"), []byte(line), 0o644)
}

// debianCodename is the name of the Debian release that this system is.
func debianCodename() (string, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			values[name] = strings.Trim(value, `"`)
		}
	}
	if values["ID"] != "debian" || values["VERSION_CODENAME"] == "" {
		return "", fmt.Errorf("this is no release of Debian but %q", values["PRETTY_NAME"])
	}
	return values["VERSION_CODENAME"], nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

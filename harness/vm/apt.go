package vm

import (
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
	"strings"
)

// An aptClient calls apt-get and apt-cache. With lists of its own it looks at the archives that
// the system is configured for, and more if asked, without touching the system's lists or
// configuration.
type aptClient struct {
	dir      string   // its working directory, where packages are downloaded to
	ownLists bool     // keeps package lists in dir
	sources  string   // a directory instead of /etc/apt/sources.list.d; empty: that one
	alone    bool     // sources are all there are, and no package counts as installed
	prefix   []string // of each command, such as sudo
}

func (a aptClient) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	// As root apt would drop to a user that cannot write into our directory, and warn.
	options := []string{"-q", "-o", "APT::Sandbox::User=root"}
	if a.ownLists {
		options = append(options,
			"-o", "Dir::State::Lists="+filepath.Join(a.dir, "lists"),
			"-o", "Dir::Cache="+filepath.Join(a.dir, "cache"),
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
	var stdout, stderr bytes.Buffer
	output := io.Writer(&stdout)
	if status := followApt(ctx, args); status != nil {
		options = append(options, aptStatusOptions...)
		output = status
		defer status.Done()
	}
	words := slices.Concat(a.prefix, []string{program}, options, args)
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Dir = a.dir
	command.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	command.Stdin = os.Stdin // sudo may ask
	command.Stdout, command.Stderr = output, &stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, lastLine(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// update fetches the client's own lists.
func (a aptClient) update(ctx context.Context) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	_, err := a.run(ctx, "apt-get", "update")
	return err
}

// kernelDependency finds the kernel that a metapackage stands for.
var kernelDependency = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[0-9]\S*)$`)

// kernelPackage finds the package of the kernel that a metapackage depends on.
func (a aptClient) kernelPackage(ctx context.Context, metapackage string) (string, error) {
	depends, err := a.run(ctx, "apt-cache", "depends", metapackage)
	if err != nil {
		return "", err
	}
	found := kernelDependency.FindSubmatch(depends)
	if found == nil {
		return "", fmt.Errorf("package %s depends on no linux-image-* (apt-cache depends)", metapackage)
	}
	return string(found[1]), nil
}

// version is that of the package that download would take.
func (a aptClient) version(ctx context.Context, name string) (string, error) {
	fields, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(fields)) {
		if version, found := strings.CutPrefix(line, "Version: "); found {
			return strings.TrimSpace(version), nil
		}
	}
	return "", fmt.Errorf("apt-cache show %s: no line begins with Version", name)
}

// download downloads a package into the client's directory, which has no other.
func (a aptClient) download(ctx context.Context, name string) (path string, err error) {
	if _, err := a.run(ctx, "apt-get", "download", name); err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(packages) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages in %s", name, len(packages), a.dir)
	}
	return packages[0], nil
}

// downloadKernel downloads the kernel that a metapackage depends on.
func (a aptClient) downloadKernel(ctx context.Context, metapackage string) (string, error) {
	name, err := a.kernelPackage(ctx, metapackage)
	if err != nil {
		return "", err
	}
	return a.download(ctx, name)
}

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
func (a aptClient) onlySuite(ctx context.Context, suite string) (aptClient, error) {
	archive, err := a.debianArchive(ctx)
	if err != nil {
		return a, err
	}
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

var errNoArchive = errors.New("none of apt's sources is Debian's own archive (apt-get indextargets shows none with origin and label Debian and component main): add one, of any release")

// debianArchive is the address of the archive of Debian's releases that this system is
// configured for.
func (a aptClient) debianArchive(ctx context.Context) (string, error) {
	targets, err := a.run(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	archive, found := findArchive(string(targets))
	if !found {
		return "", errNoArchive
	}
	return archive, nil
}

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
	signedBy := ""
	if _, err := os.Stat(debianKeyring); err == nil {
		signedBy = "[signed-by=" + debianKeyring + "] "
	}
	line := fmt.Sprintf("deb %s%s %s main\n", signedBy, archive, suite)
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

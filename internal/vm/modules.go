package vm

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultModules are loaded into every guest: what hosts, links, impairments and evidence
// need. Those that the kernel has built in are passed over.
var defaultModules = []string{
	"virtio_pci", "virtio_console", // the ports to the host
	"veth", "ifb", "dummy",
	"sch_netem", "sch_tbf", "sch_htb", "sch_fq", "sch_fq_codel",
	"sch_ingress", "cls_bpf", "cls_matchall", "act_csum", // rules (impair/rules)
	"tcp_bbr", "tcp_diag", "inet_diag",
}

// optionalModules are loaded into every guest whose kernel has them, and so are all congestion controls: what only some scenarios need, which are skipped by name
// where it is missing.
var optionalModules = []string{
	"nf_tables", "nf_conntrack", "nft_ct", "nft_chain_nat", "nft_masq", "nft_reject_inet", // middleboxes (impair/middlebox)
	"sch_codel", "sch_pie", "sch_cake", "sch_red", "sch_dualpi2", "act_police", // queues (impair/queue)
}

// ErrNoModule is returned for a module that a kernel does not have.
var ErrNoModule = errors.New("no such module")

// A moduleTree is the directory lib/modules/RELEASE of a kernel.
type moduleTree struct {
	paths   map[string]string // module name to file
	builtin map[string]bool
}

func openModules(dir string) (*moduleTree, error) {
	tree := &moduleTree{paths: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(path); ok && !entry.IsDir() {
			tree.paths[name] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(builtin))
	for lines.Scan() {
		if name, ok := moduleName(lines.Text()); ok {
			tree.builtin[name] = true
		}
	}
	return tree, lines.Err()
}

// moduleName is what lsmod calls the module in a file, and whether the file is a module.
func moduleName(path string) (string, bool) {
	base := filepath.Base(path)
	name, suffix, found := strings.Cut(base, ".ko")
	switch suffix {
	case "", ".xz", ".zst", ".gz":
	default:
		return "", false
	}
	return strings.ReplaceAll(name, "-", "_"), found
}

// resolveAll is resolve of these names, and of those of the optional ones that the kernel has with all that they depend on.
func (t *moduleTree) resolveAll(names, optional []string) ([]module, error) {
	for _, name := range optional {
		_, err := t.resolve([]string{name})
		if errors.Is(err, ErrNoModule) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names = append(slices.Clone(names), name)
	}
	return t.resolve(names)
}

// congestionControls are the names of the modules that register one with TCP, in alphabetical order.
func (t *moduleTree) congestionControls() ([]string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.paths)) {
		if !strings.HasPrefix(name, "tcp_") {
			continue
		}
		content, err := readDecompressed(t.paths[name])
		if err != nil {
			return nil, err
		}
		asks, err := asksFor(content, "tcp_register_congestion_control")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.paths[name], err)
		}
		if asks {
			names = append(names, name)
		}
	}
	return names, nil
}

// asksFor tells whether a module asks the kernel for a symbol.
func asksFor(content []byte, symbol string) (bool, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return false, err
	}
	symbols, err := file.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return false, nil
	}
	return slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == symbol && s.Section == elf.SHN_UNDEF }), err
}

// A module is one that a guest has to load.
type module struct {
	Name    string
	Content []byte // uncompressed: the guest is the slow place
}

// resolve returns the modules of these names with all that they depend on, each after its
// dependencies. An unpacked package has no modules.dep; each module names its own in .modinfo.
func (t *moduleTree) resolve(names []string) ([]module, error) {
	var order []module
	seen := map[string]bool{}
	var add func(name, neededBy string) error
	add = func(name, neededBy string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if seen[name] || t.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := t.paths[name]
		if !ok {
			if neededBy != "" {
				return fmt.Errorf("%w: %s, which %s depends on", ErrNoModule, name, neededBy)
			}
			return fmt.Errorf("%w: %s", ErrNoModule, name)
		}
		content, err := readDecompressed(path)
		if err != nil {
			return err
		}
		depends, err := moduleDepends(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, dependency := range depends {
			if dependency.optional {
				dependency.name = t.algorithm(dependency.name)
			}
			if dependency.name == "" {
				continue
			}
			if err := add(dependency.name, name); err != nil {
				return err
			}
		}
		order = append(order, module{Name: name, Content: content})
		return nil
	}
	for _, name := range names {
		if err := add(name, ""); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// algorithm finds the module that an optional dependency means, or "" if there is none. Those that matter here ask the
// crypto API for an algorithm (libcrc32c, which act_csum depends on, for crc32c): in a guest without modprobe it has to
// be there before. The generic implementation runs on every CPU.
func (t *moduleTree) algorithm(name string) string {
	for _, candidate := range []string{name + "_generic", name} {
		if _, ok := t.paths[candidate]; ok {
			return candidate
		}
	}
	return ""
}

// A dependency is a module that another one needs, or (softdep) likes to have.
type dependency struct {
	name     string
	optional bool
}

// modinfoLimit is more than any module says of itself: with thousands of aliases it is some 100 KB.
const modinfoLimit = 4 << 20

// moduleDepends reads "depends=a,b" and "softdep=pre: c d" from a module's .modinfo section.
func moduleDepends(content []byte) ([]dependency, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section: not a kernel module")
	}
	// Not section.Data(): a section can be compressed, and say that it is of any size.
	info, err := io.ReadAll(io.LimitReader(section.Open(), modinfoLimit))
	if err != nil {
		return nil, err
	}
	if uint64(len(info)) < min(section.Size, modinfoLimit) {
		return nil, fmt.Errorf(".modinfo: %w", io.ErrUnexpectedEOF)
	}
	var depends []dependency
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if list, found := strings.CutPrefix(string(entry), "depends="); found && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				depends = append(depends, dependency{name: name})
			}
		}
		if list, found := strings.CutPrefix(string(entry), "softdep=pre:"); found {
			list, _, _ = strings.Cut(list, "post:")
			for name := range strings.FieldsSeq(list) {
				if !strings.Contains(name, ",") { // no module is called so
					depends = append(depends, dependency{name, true})
				}
			}
		}
	}
	return depends, nil
}

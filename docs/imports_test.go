package docs

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
)

// Leaves need nothing but these packages outside of the standard library, so that who uses one does not get the rest.
var leaves = map[string][]string{
	"harness/kernelversion": {"golang.org/x/sys/unix"},
	"peers/tcpinfo":         {"golang.org/x/sys/unix"},
	"harness/bounds":        nil,
	"internal/vm/guest":     {"golang.org/x/sys/unix"}, // what runs before all in a guest
	"harness/analysis": {
		"github.com/gopacket/gopacket", "github.com/gopacket/gopacket/endian", "github.com/gopacket/gopacket/layers",
		"github.com/gopacket/gopacket/pcapgo", "golang.org/x/net/bpf", "golang.org/x/sys/unix", "golang.org/x/text/transform",
		"golang.org/x/text/width", module + "/harness/analysis/internal/packet", module + "/internal/ethernet", module + "/internal/text",
		module + "/peers/tcpinfo",
	},
	"harness/oracle": {"golang.org/x/sys/unix", module + "/harness/bounds", module + "/internal/ethernet", module + "/harness/kernelversion"},
}

func TestLeavesImportNothingElse(t *testing.T) {
	testenv.Program(t, "go", "to list packages")
	for leaf, allowed := range leaves {
		command := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./"+leaf)
		command.Dir = ".."
		output, err := command.Output()
		if err != nil {
			t.Errorf("%v: %v", command, err)
			continue
		}
		for _, dependency := range strings.Fields(string(output)) {
			if dependency != module+"/"+leaf && !slices.Contains(allowed, dependency) {
				t.Errorf("%s needs %s: allowed are %q", leaf, dependency, allowed)
			}
		}
	}
}

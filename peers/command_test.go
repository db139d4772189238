package peers_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/peers"
)

// A program that is not in the guest is said to be packed in; elsewhere it is only said to be missing.
func TestCommandThatIsNotThere(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/shell\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for program, says := range map[string]string{
		"no-such-program":  "no-such-program\": executable file not found in $PATH: it is not in the guest: pack it in with --include $(which no-such-program)",
		"/no/such/program": "no such file or directory: it is not in the guest: pack it in with --include /no/such/program",
		script:             "it is in the guest, and what it is run by is not",
	} {
		for clock, match := range map[string]func(any) types.GomegaMatcher{
			"virtual": func(says any) types.GomegaMatcher { return ContainSubstring(says.(string)) },
			"real":    func(any) types.GomegaMatcher { return Not(ContainSubstring("guest")) },
		} {
			t.Setenv("TCPLAB_CLOCK", clock)
			_, err := peers.Start(t.Context(), nil, "peer", peers.Command{Path: program})
			NewWithT(t).Expect(err).To(MatchError(match(says)), "%s, %s clock", program, clock)
		}
	}
}

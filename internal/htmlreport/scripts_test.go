package htmlreport

import (
	"os/exec"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
)

// The scripts' own tests, by node's runner.
func TestScripts(t *testing.T) {
	testenv.Program(t, "node", "to test the page's scripts")
	command := exec.Command("node", "--test", "testdata/scripts.test.mjs")
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", command, err, output)
	}
}

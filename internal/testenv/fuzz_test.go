package testenv_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestFuzzRefusesWhatIsNoTime: each target would be compiled, and would fail with the usage of a test binary.
func TestFuzzRefusesWhatIsNoTime(t *testing.T) {
	for _, time := range []string{"", "60", "s", "5 s", "-test.parallel"} {
		output, err := exec.Command("./fuzz", time).CombinedOutput()
		var status *exec.ExitError
		if !errors.As(err, &status) || status.ExitCode() != 2 || strings.Count(string(output), "\n") != 1 || !strings.Contains(string(output), "60s") {
			t.Errorf("fuzz %q: %v, %q", time, err, output)
		}
	}
}

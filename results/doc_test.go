package results

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
)

// The documentation's jq commands are run on the full record.
func TestJQCommandsOfTheDocumentation(t *testing.T) {
	testenv.Program(t, "jq", "to run the queries of the package doc")
	want := map[string]string{ // by how the command begins
		`select(.failure)`:   "handshake: A SYN that nobody answers",
		`. as $r | .metrics`: "\tSYN retransmissions\t6\t\n",
		`.counters[]`:        "6\n",
		`.impairments[]`:     `{"end":"router/eth1","asked":{"loss":"33.3333 %","delay_ns":20000000},"applied":{"delay_ns":20000000,"loss":0.33333300008},"notes":["loss: 33.3333 % is 1431654336 / 2^32 in the kernel"]}` + "\n",
		`[.captures[]`:       "0\n",
		`.artefacts[]`:       hash("d") + "  client.pcapng\n" + hash("e") + "  peers/dial.log\n",
		`del(.host)`:         `"suite": "handshake"`,
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "//\tjq ")
		if !ok {
			continue
		}
		options, rest, _ := strings.Cut(rest, "'")
		program, _, _ := strings.Cut(rest, "'")
		out, err := exec.Command("jq", append(strings.Fields(options), program, "testdata/record.json")...).CombinedOutput()
		if err != nil {
			t.Errorf("jq %s: %v: %s", program, err, out)
		}
		for begin, text := range want {
			if strings.HasPrefix(program, begin) {
				delete(want, begin)
				if !strings.Contains(string(out), text) {
					t.Errorf("jq %s printed %q, want %q", program, out, text)
				}
			}
		}
	}
	for begin := range want {
		t.Errorf("doc.go has no jq command that begins with %q", begin)
	}
}

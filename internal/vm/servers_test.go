package vm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/vm"
)

// Servers that nobody has prepared for a guest start in one, with the configuration that they have on this machine.
func TestServersStartAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		server  string
		include []string // beside the shell and what it calls
		script  string
		says    string
	}{
		{
			"/usr/sbin/nginx", []string{"/usr/sbin/nginx", "/etc/nginx", "/usr/share/nginx", "/usr/lib/nginx", "/var/www", "curl"},
			`nginx && curl --silent --show-error http://localhost/ --head`, "HTTP/1.1 ",
		},
		{
			"/usr/sbin/sshd", []string{"/usr/sbin/sshd", "/etc/ssh", "ssh-keygen", "ssh-keyscan"},
			`ssh-keygen -A && /usr/sbin/sshd && ssh-keyscan localhost`, "ssh-ed25519",
		},
		{
			"/usr/lib/postgresql/15/bin/postgres",
			[]string{"/usr/lib/postgresql/15", "/usr/share/postgresql/15", "/usr/share/zoneinfo", "setpriv", "/usr/bin/env"},
			`run="setpriv --reuid=postgres --regid=postgres --init-groups"
			$run initdb --locale=C.UTF-8 -D /var/lib/postgresql/data && $run pg_ctl -w -D /var/lib/postgresql/data start &&
			$run psql -c "select 6 * 7 as answer" && $run psql -c "show lc_collate"`, "42",
		},
	} {
		t.Run(filepath.Base(c.server), func(t *testing.T) {
			if _, err := os.Stat(c.server); err != nil {
				t.Skip("needs ", c.server)
			}
			g := NewWithT(t)
			includes := []string{"/bin/cat", "/bin/sh"}
			for _, include := range c.include {
				path, err := exec.LookPath(include)
				if err != nil {
					path = include // no program
				}
				if _, err := os.Stat(path); err != nil {
					t.Skip("needs ", include)
				}
				includes = append(includes, path)
			}
			image := newImage(t, newBase(t, nil), func(c *vm.Contents) {
				c.Program, c.Include = "/bin/sh", includes
			})
			var output bytes.Buffer
			result, err := image.Run(t.Context(), vm.Job{Args: []string{"-c", c.script}, Seed: 1, Output: &output, MemoryMiB: 2048})
			g.Expect(err).NotTo(HaveOccurred(), output.String())
			g.Expect(output.String()).To(ContainSubstring(c.says))
			g.Expect(result.ExitCode).To(BeZero(), output.String())
		})
	}
}

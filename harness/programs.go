package harness

import (
	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/internal/programs"
)

// Programs says which programs a spec needs that are not of its suite, by the names that a shell would find them by. It is a
// decorator, and a label that can be filtered by ("program:nginx"):
//
//	var _ = It("...", harness.Programs("nginx", "curl"), func(ctx SpecContext) {
//		...
//		lab.Start(net.Server(), peers.Command{Path: harness.ProgramPath("nginx"), ...})
//	})
//
// "tcplab run" packs them into the spec's guest, with their shared libraries and what else it knows that they need (the
// templates of PostgreSQL's initdb), and without an --include. Where one is not installed the spec is skipped, with its name, before a
// guest starts.
func Programs(names ...string) ginkgo.Labels {
	var labels ginkgo.Labels
	for _, name := range names {
		labels = append(labels, programs.Label(name))
	}
	return labels
}

// ProgramPath is where a program is that the spec has named by [Programs]: in PATH, or where Debian has it. One that is not installed
// fails the spec.
func ProgramPath(name string) string {
	ginkgo.GinkgoHelper()
	program, err := programs.Find(name)
	check(err)
	return program.Path
}

// skipMissingPrograms skips a spec that needs a program which is not installed. "tcplab run" has left it out before; this is for
// plain Ginkgo.
func skipMissingPrograms() {
	for _, name := range programs.Named(ginkgo.CurrentSpecReport().Labels()) {
		if _, err := programs.Find(name); err != nil {
			missing(err, err.Error())
		}
	}
}

package runner

import (
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/internal/constraint"
	"github.com/tcplab/tcplab/internal/programs"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// kernelConditions are those of a spec: its own, and those of its containers and its suite.
func kernelConditions(suite types.Report, spec types.SpecReport) []string {
	conditions := slices.Clone(suite.SuiteComponentSemVerConstraints[constraint.Kernel])
	for _, container := range spec.ContainerHierarchyComponentSemVerConstraints {
		conditions = append(conditions, container[constraint.Kernel]...)
	}
	conditions = append(conditions, spec.LeafNodeComponentSemVerConstraints[constraint.Kernel]...)
	slices.Sort(conditions)
	return slices.Compact(conditions)
}

// A misfit is a spec that is not for a kernel, or that needs a program which this machine does not have.
type misfit struct {
	suite  *Suite
	spec   Spec
	kernel results.Uname
	reason string
}

// splitMisfits takes the specs that are not for this kernel or machine from those that are selected. The
// suites that it was given stay as they are.
func splitMisfits(suites []*Suite, on results.Uname, clock Clock) (fitting []*Suite, misfits []misfit, err error) {
	version, err := kernelversion.Parse(on.Release)
	if err != nil {
		return nil, nil, err
	}
	for _, suite := range suites {
		split := *suite
		split.Specs = slices.Clone(suite.Specs)
		for i := range split.Specs {
			spec := &split.Specs[i]
			if !spec.Selected {
				continue
			}
			reason := constraint.Unmet(spec.Kernel, version)
			if reason == "" {
				reason = lacking(spec, clock)
			}
			if reason != "" {
				spec.Selected = false
				misfits = append(misfits, misfit{suite: suite, spec: *spec, kernel: on, reason: reason})
			}
		}
		fitting = append(fitting, &split)
	}
	return fitting, misfits, nil
}

// lacking is why this machine's programs are not those that a spec needs, or "". Guests may be of another architecture.
func lacking(spec *Spec, clock Clock) string {
	files, err := filesOf([]*Spec{spec})
	if err != nil {
		return err.Error()
	}
	if clock != Virtual {
		return ""
	}
	for _, file := range files {
		if err := vm.CheckInclude(file); err != nil {
			return err.Error()
		}
	}
	return ""
}

// filesOf are the programs that specs need, and the files that those need, each once.
func filesOf(specs []*Spec) ([]string, error) {
	var files []string
	for _, spec := range specs {
		for _, name := range spec.Programs {
			program, err := programs.Find(name)
			if err != nil {
				return nil, err
			}
			files = append(append(files, program.Path), program.Files...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// recordMisfits leaves a record of each, which says why it did not run.
func (s *Session) recordMisfits(misfits []misfit, run *results.Run, options RunOptions) ([]*results.Record, error) {
	var records []*results.Record
	for _, m := range misfits {
		host := results.ThisHost()
		host.Started = time.Now()
		record := options.record(s.clock, m.kernel)
		record.Suite, record.Scenario, record.Labels, record.Host = m.suite.Name, m.spec.Text, m.spec.Labels, &host
		record.Verdict = results.Skipped
		record.Reason = m.reason
		if err := writeRecord(&record, run.Dir(record.Suite, record.Scenario)); err != nil {
			return records, err
		}
		report(s.log, &record, options)
		records = append(records, &record)
	}
	return records, nil
}

package runner

import (
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/internal/constraint"
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

// A misfit is a spec that is not for a kernel.
type misfit struct {
	suite  *Suite
	spec   Spec
	kernel results.Uname
	reason string
}

// splitMisfits takes the specs that are not for this kernel from those that are selected. The
// suites that it was given stay as they are.
func splitMisfits(suites []*Suite, on results.Uname) (fitting []*Suite, misfits []misfit, err error) {
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
			if reason := constraint.Unmet(spec.Kernel, version); reason != "" {
				spec.Selected = false
				misfits = append(misfits, misfit{suite: suite, spec: *spec, kernel: on, reason: reason})
			}
		}
		fitting = append(fitting, &split)
	}
	return fitting, misfits, nil
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

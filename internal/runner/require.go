package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/results"
)

// kernelComponent is what specs call the kernel whose version they make a condition of, by Ginkgo's
// ComponentSemVerConstraint("kernel", ">= 6.5.0").
const kernelComponent = "kernel"

// kernelConditions are those of a spec: its own, and those of its containers and its suite.
func kernelConditions(suite types.Report, spec types.SpecReport) []string {
	conditions := slices.Clone(suite.SuiteComponentSemVerConstraints[kernelComponent])
	for _, container := range spec.ContainerHierarchyComponentSemVerConstraints {
		conditions = append(conditions, container[kernelComponent]...)
	}
	conditions = append(conditions, spec.LeafNodeComponentSemVerConstraints[kernelComponent]...)
	slices.Sort(conditions)
	return slices.Compact(conditions)
}

// kernelFilter is Ginkgo's --sem-ver-filter for a kernel. Of a release only the three numbers count: "-56-amd64"
// behind them would read as a version before that one.
func kernelFilter(release string) (string, error) {
	version, err := kernelversion.Parse(release)
	if err != nil {
		return "", err
	}
	return kernelComponent + "=" + version.String(), nil
}

// A misfit is a spec that is not for a kernel.
type misfit struct {
	suite  *Suite
	spec   Spec
	kernel results.Kernel
}

// splitMisfits takes the specs that are not for this kernel from those that are selected. The
// suites that it was given stay as they are.
func splitMisfits(suites []*Suite, on results.Kernel) (fitting []*Suite, misfits []misfit, err error) {
	filter, err := kernelFilter(on.Release)
	if err != nil {
		return nil, nil, err
	}
	fits, err := types.ParseSemVerFilter(filter)
	if err != nil {
		return nil, nil, err
	}
	for _, suite := range suites {
		split := *suite
		split.Specs = slices.Clone(suite.Specs)
		for i := range split.Specs {
			spec := &split.Specs[i]
			if spec.Selected && !fits(kernelComponent, spec.Kernel) {
				spec.Selected = false
				misfits = append(misfits, misfit{suite: suite, spec: *spec, kernel: on})
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
		record.Reason = fmt.Sprintf("is for kernels %s; this is %s", strings.Join(m.spec.Kernel, " and "), m.kernel.Release)
		if err := writeRecord(&record, run.Dir(record.Suite, record.Scenario)); err != nil {
			return records, err
		}
		report(s.log, &record, options)
		records = append(records, &record)
	}
	return records, nil
}

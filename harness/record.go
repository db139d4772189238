package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/results"
)

// currentRun is the run that this process writes its records into.
var currentRun = sync.OnceValues(func() (*results.Run, error) {
	if dir := os.Getenv("TCPLAB_RESULTS"); dir != "" {
		return results.Open(dir)
	}
	root, err := moduleRoot()
	if err != nil {
		if root, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	// All processes that one ginkgo or go test starts, for each suite and for -p, have the
	// same parent: it names their run.
	started, err := startOf(os.Getppid())
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("pid%d-%s-seed%d", os.Getppid(), started, ginkgo.GinkgoRandomSeed())
	run, err := results.Create(filepath.Join(root, "results"), id)
	if errors.Is(err, fs.ErrExist) {
		return results.Open(filepath.Join(root, "results", id))
	}
	return run, err
})

// finishRecord writes the record of a spec that has ended: what its Lab knows, and what
// Ginkgo says of it.
func finishRecord(report types.SpecReport) error {
	record := takeRecord()
	suiteConfig, _ := ginkgo.GinkgoConfiguration()
	switch {
	case suiteConfig.DryRun:
		return nil
	case report.State.Is(types.SpecStatePending), report.State.Is(types.SpecStateSkipped) && report.Failure.IsZero():
		return nil // not selected: a record is for what was to run
	}
	run, err := currentRun()
	if err != nil {
		return err
	}
	if record == nil {
		record = &results.Record{}
	}
	record.Suite = suiteName
	record.Scenario = report.FullText()
	record.Labels = report.Labels()
	record.Verdict = results.Verdict(report.State.String())
	record.Kernel = results.ThisKernel()
	record.Clock = clock()
	record.Seed = uint64(ginkgo.GinkgoRandomSeed())
	record.Duration = results.Duration(report.RunTime)
	switch {
	case report.State.Is(types.SpecStateSkipped):
		record.Reason = report.Failure.Message
	case report.State.Is(types.SpecStateFailureStates):
		record.Failure = &results.Failure{Message: report.Failure.Message, Location: report.Failure.Location.String()}
		if report.Failure.Message == "" && report.Failure.ForwardedPanic != "" {
			record.Failure.Message = report.Failure.ForwardedPanic
		}
	}
	dir := run.Dir(suiteName, record.Scenario)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if record.Artefacts, err = results.Artefacts(dir); err != nil {
		return err
	}
	if record.Clock == results.ClockReal {
		// In a guest all this belongs to the machine outside, which adds it.
		host := results.ThisHost()
		host.Started, host.Wall = report.StartTime, record.Duration
		record.Host = &host
	}
	return record.Write(dir)
}

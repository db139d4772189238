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

	"github.com/tcplab/tcplab/internal/outcome"
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
	// All processes that one ginkgo or go test starts, for each suite, for -p and for --repeat,
	// have the same parent: it names their run. Their seeds can differ.
	parent := os.Getppid()
	if parent == 0 { // it is outside of this container
		parent = os.Getpid()
	}
	started, err := startOf(parent)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("pid%d-%s", parent, started)
	run, err := results.Create(filepath.Join(root, "results"), id)
	if errors.Is(err, fs.ErrExist) {
		return results.Open(filepath.Join(root, "results", id))
	}
	return run, err
})

// lastRecord is the folder of the record that was written last.
var lastRecord string

// finishRecord writes the record of a spec that has ended: what its Lab knows, and what
// Ginkgo says of it. An error fails the spec, in its record too.
func finishRecord(report types.SpecReport) error {
	lab := takeLab()
	suiteConfig, _ := ginkgo.GinkgoConfiguration()
	if suiteConfig.DryRun || !outcome.WasToRun(report) {
		return nil
	}
	run, err := currentRun()
	if err != nil {
		return err
	}
	record := &results.Record{}
	var fault error
	if lab != nil {
		record = lab.record
		_, fault = lab.close(report) // it is closed, unless Ginkgo was interrupted twice and left the cleanups out
	}
	record.Suite = suiteName
	outcome.Set(record, report)
	record.Kernel = results.ThisKernel()
	record.Clock = clock()
	record.IPv6 = IPv6()
	dir := run.Dir(suiteName, record.Scenario)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if record.Clock == results.ClockReal {
		record.Artefacts, err = results.Artefacts(dir)
	} else {
		err = results.CheckArtefacts(dir) // whoever runs the guest lists what has come out of it, and hashes it
	}
	fault = errors.Join(fault, err)
	if fault != nil && record.Failure == nil {
		record.Verdict, record.Reason = results.Failed, ""
		record.Failure = &results.Failure{Message: fault.Error(), Location: report.LeafNodeLocation.String()}
	}
	if record.Clock == results.ClockReal {
		// In a guest all this belongs to the machine outside, which adds it.
		record.Seed = uint64(ginkgo.GinkgoRandomSeed())
		host := results.ThisHost()
		host.Started, host.Wall = report.StartTime, record.Duration
		record.Host = &host
	}
	fault = errors.Join(fault, record.Write(dir))
	lastRecord = dir
	if record.Verdict != results.Skipped && os.Getenv("TCPLAB_RESULTS") == "" { // else who gave the folder decides
		fault = errors.Join(fault, run.MakeLatest())
	}
	return fault
}

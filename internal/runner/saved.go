package runner

import (
	"errors"
	"io/fs"
	"os"

	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// A savedWork is what the ledger and the cache have of a work: all of its scenarios, or nothing.
type savedWork struct {
	store runCache
	log   *logger
	keys  []string // of the scenarios
	dirs  []string // their folders in the run
}

// known are copies of the records of all scenarios, whose evidence lies in their folders if it is from the cache; or nil.
func (s savedWork) known(options RunOptions, suite *Suite) ([]*results.Record, error) {
	if options.Fresh {
		return nil, nil
	}
	if records := s.inLedger(options.Ledger); records != nil {
		return records, nil
	}
	var records []*results.Record
	for i, key := range s.keys {
		record, err := s.store.load(key, s.dirs[i])
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
				s.log.printf("cache: run again: %v", err)
			}
			return nil, s.forget(i)
		}
		records = append(records, record)
	}
	return records, s.note(options.Ledger, suite, records)
}

// forget removes the first n folders again.
func (s savedWork) forget(n int) error {
	var errs []error
	for _, dir := range s.dirs[:n] {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

func (s savedWork) inLedger(ledger *results.Ledger) []*results.Record {
	if ledger == nil {
		return nil
	}
	var records []*results.Record
	for _, key := range s.keys {
		record := ledger.Get(key)
		if record == nil {
			return nil
		}
		known := *record
		records = append(records, &known)
	}
	return records
}

// enter keeps what came of a work. The cache has only what passed, with what was skipped in the same guest, and the ledger
// everything but what the host did to a guest (see [vm.GuestError]): that is no result of the inputs. What the inputs came to
// now takes the place of what they came to before.
func (s savedWork) enter(options RunOptions, suite *Suite, records []*results.Record, fault error) error {
	var guest *vm.GuestError
	if errors.As(fault, &guest) && guest.OfHost() {
		return nil
	}
	for i, key := range s.keys {
		var err error
		switch {
		case passed(records):
			err = s.store.save(key, s.dirs[i])
		case records[i].Verdict != results.Passed:
			err = s.dropPass(key, records[i])
		}
		if err != nil {
			s.log.printf("cache: %v", err) // the result stands without it
		}
	}
	return s.note(options.Ledger, suite, records)
}

// dropPass forgets that a scenario passed which did not now. The cache has also what was skipped beside others that passed.
func (s savedWork) dropPass(key string, now *results.Record) error {
	dropped, err := s.store.drop(key)
	if dropped && now.Verdict.Failed() {
		s.otherwise(now, results.Passed)
	}
	return err
}

func (s savedWork) note(ledger *results.Ledger, suite *Suite, records []*results.Record) error {
	if ledger == nil {
		return nil
	}
	for i, key := range s.keys {
		if before := ledger.Get(key); before != nil && before.Verdict != records[i].Verdict {
			s.otherwise(records[i], before.Verdict)
		}
		if err := ledger.Put(key, suite.Code, records[i]); err != nil {
			return err
		}
	}
	return nil
}

// otherwise says what must not be: the same inputs give the same bytes.
func (s savedWork) otherwise(record *results.Record, before results.Verdict) {
	s.log.once("%s: %s: %s now, and %s before with the very same inputs: tcplab reproducible shows whether this machine computes alike",
		record.Suite, record.Scenario, record.Verdict, before)
}

// passed tells whether some passed and none did anything else but to be skipped.
func passed(records []*results.Record) bool {
	tally := results.Count(records)
	return tally.Passed > 0 && tally.Passed+tally.Skipped == len(records)
}

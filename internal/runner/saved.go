package runner

import (
	"errors"
	"io/fs"
	"os"

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
// everything.
func (s savedWork) enter(options RunOptions, suite *Suite, records []*results.Record) error {
	if passed(records) {
		for i, key := range s.keys {
			if err := s.store.save(key, s.dirs[i]); err != nil {
				s.log.printf("cache: %v", err) // the result stands without it
			}
		}
	}
	return s.note(options.Ledger, suite, records)
}

func (s savedWork) note(ledger *results.Ledger, suite *Suite, records []*results.Record) error {
	if ledger == nil {
		return nil
	}
	for i, key := range s.keys {
		if err := ledger.Put(key, suite.Code, records[i]); err != nil {
			return err
		}
	}
	return nil
}

// passed tells whether some passed and none did anything else but to be skipped.
func passed(records []*results.Record) bool {
	tally := results.Count(records)
	return tally.Passed > 0 && tally.Passed+tally.Skipped == len(records)
}

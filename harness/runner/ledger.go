package runner

import "github.com/tcplab/tcplab/results"

// known is a copy of what the ledger knows of a run, or nil.
func (o Options) known(key string) *results.Record {
	if o.Ledger == nil || o.Fresh {
		return nil
	}
	record := o.Ledger.Get(key)
	if record == nil {
		return nil
	}
	known := *record
	return &known
}

// enter lets the ledger know of a run.
func (o Options) enter(key string, suite *Suite, record *results.Record) error {
	if o.Ledger == nil {
		return nil
	}
	return o.Ledger.Put(key, suite.Code, record)
}

// Codes are the codes of the session's suites: see Suite.Code.
func (s *Session) Codes() []string {
	var codes []string
	for _, suite := range s.suites {
		codes = append(codes, suite.Code)
	}
	return codes
}

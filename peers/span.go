package peers

import (
	"sync"
	"time"
)

// span is the time from the earliest to the latest of several spans. Safe for concurrent use.
type span struct {
	mu          sync.Mutex
	first, last time.Time
}

// add widens the span; one without a first time is ignored.
func (s *span) add(first, last time.Time) {
	if first.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() || first.Before(s.first) {
		s.first = first
	}
	if last.After(s.last) {
		s.last = last
	}
}

func (s *span) elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.Sub(s.first)
}

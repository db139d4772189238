package runner

// Codes are the codes of the session's suites: see Suite.Code.
func (s *Session) Codes() []string {
	var codes []string
	for _, suite := range s.suites {
		codes = append(codes, suite.Code)
	}
	return codes
}

package vm

// HasState tells whether a base has a booted guest's state.
func HasState(b *Base) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.slot(Job{}.guestSize()).state != nil
}

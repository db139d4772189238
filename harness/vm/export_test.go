package vm

// HasState tells whether an image has kept a booted guest's state.
func HasState(i *Image) bool {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.state != nil
}

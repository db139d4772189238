package peers

import (
	"fmt"
	"math"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// user checks the User of a Command.
func (c *check) user(name string) {
	if strings.ContainsFunc(name, isBlank) {
		c.fail("User", fmt.Sprintf("%q", name), "want a name without blanks, or uid:gid")
	}
	if !strings.Contains(name, ":") {
		return
	}
	if _, err := numericUser(name); err != nil {
		c.fail("User", name, "want the name of a user, or uid:gid, both numbers")
	}
}

// credential is the identity of the user of a Command; nil for that of this process.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	if strings.Contains(name, ":") {
		return numericUser(name)
	}
	found, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w: it takes one of /etc/passwd, or uid:gid", name, err)
	}
	groups, err := found.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	c, err := numericUser(found.Uid + ":" + found.Gid)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	for _, group := range groups {
		id, err := userID(group)
		if err != nil {
			return nil, fmt.Errorf("groups of user %s: %w", name, err)
		}
		c.Groups = append(c.Groups, id)
	}
	return c, nil
}

// numericUser is the identity that uid:gid says.
func numericUser(ids string) (*syscall.Credential, error) {
	uid, gid, _ := strings.Cut(ids, ":")
	u, err := userID(uid)
	if err != nil {
		return nil, err
	}
	g, err := userID(gid)
	return &syscall.Credential{Uid: u, Gid: g}, err
}

// userID reads the number of a user or a group. The highest stands for none (chown(2)).
func userID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil && id == math.MaxUint32 {
		err = fmt.Errorf("%d is the number of nobody", id)
	}
	return uint32(id), err
}

package vm

import (
	"github.com/u-root/u-root/pkg/cpio"
)

// Servers start as they are if a guest has what they look up: users and groups, names of this host, and the directories that
// their packages, or systemd at each boot, make for them. None of it is the host's, so that it is the same everywhere.

// passwd has the users of each Debian (package base-passwd), one that has no rights, and those of a few servers, with numbers that no
// package chooses by itself.
const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
games:x:5:60:games:/usr/games:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
news:x:9:9:news:/var/spool/news:/usr/sbin/nologin
uucp:x:10:10:uucp:/var/spool/uucp:/usr/sbin/nologin
proxy:x:13:13:proxy:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
list:x:38:38:Mailing List Manager:/var/list:/usr/sbin/nologin
irc:x:39:39:ircd:/run/ircd:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
sshd:x:901:65534::/run/sshd:/usr/sbin/nologin
nginx:x:902:902::/nonexistent:/usr/sbin/nologin
postgres:x:903:903::/var/lib/postgresql:/bin/sh
mysql:x:904:904::/var/lib/mysql:/usr/sbin/nologin
redis:x:905:905::/var/lib/redis:/usr/sbin/nologin
haproxy:x:906:906::/var/lib/haproxy:/usr/sbin/nologin
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`

const group = `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
news:x:9:
uucp:x:10:
man:x:12:
proxy:x:13:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
sudo:x:27:
audio:x:29:
www-data:x:33:
backup:x:34:
operator:x:37:
list:x:38:
irc:x:39:
src:x:40:
shadow:x:42:
utmp:x:43:
video:x:44:
staff:x:50:
games:x:60:
users:x:100:
nginx:x:902:
postgres:x:903:
mysql:x:904:
redis:x:905:
haproxy:x:906:
ssl-cert:x:907:postgres
user:x:1000:
nogroup:x:65534:
`

// hosts has the name that /init gives the guest.
const hosts = `127.0.0.1 localhost
127.0.1.1 tcplab
::1 localhost ip6-localhost ip6-loopback
`

// nsswitch lets the C library look into files only: a guest has no name server, and would wait for one.
const nsswitch = `passwd: files
group: files
shadow: files
hosts: files
networks: files
protocols: files
services: files
ethers: files
`

// systemDirs are directories that are there and empty, and whose they are.
var systemDirs = []struct {
	name string
	mode uint64
	user uint64 // and group
}{
	{"home/user", 0o755, 1000}, {"opt", 0o755, 0}, {"srv", 0o755, 0}, {"mnt", 0o755, 0},
	{"usr/local/bin", 0o755, 0}, {"usr/local/sbin", 0o755, 0}, {"usr/sbin", 0o755, 0}, {"usr/share", 0o755, 0},
	{"run/lock", 0o1777, 0}, {"run/sshd", 0o755, 0}, {"run/postgresql", 0o2775, 903}, {"run/mysqld", 0o755, 904},
	{"run/redis", 0o755, 905}, {"run/haproxy", 0o755, 906},
	{"var/cache", 0o755, 0}, {"var/lib/nginx", 0o755, 0}, {"var/lib/postgresql", 0o755, 903}, {"var/lib/mysql", 0o700, 904},
	{"var/lib/redis", 0o750, 905}, {"var/lib/haproxy", 0o755, 0},
	{"var/log/nginx", 0o755, 0}, {"var/log/postgresql", 0o755, 903}, {"var/mail", 0o755, 0}, {"var/spool", 0o755, 0},
	{"var/tmp", 0o1777, 0}, {"var/www/html", 0o755, 0},
}

// addSystem adds what guests have whatever is included, as far as nothing else has been put there.
func (a *archive) addSystem() error {
	for _, file := range []struct{ name, content string }{
		{"etc/passwd", passwd}, {"etc/group", group}, {"etc/hosts", hosts}, {"etc/nsswitch.conf", nsswitch}, {"etc/hostname", "tcplab\n"},
	} {
		if err := a.addContent(file.name, []byte(file.content), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range systemDirs {
		record := cpio.Directory(dir.name, dir.mode)
		record.UID, record.GID = dir.user, dir.user
		if err := a.add(record); err != nil {
			return err
		}
	}
	for _, link := range []struct{ name, to string }{{"var/run", "/run"}, {"var/lock", "/run/lock"}} {
		if err := a.add(cpio.Symlink(link.name, link.to)); err != nil {
			return err
		}
	}
	return nil
}

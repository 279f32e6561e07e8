package app

import (
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"lastmile/internal/admission"
)

// machine looks at what a probe needs of the machine or container that it runs in.
type machine struct {
	files fs.FS // the root of its file system
}

func (m machine) checks(tempDir string) []check {
	return []check{m.cpu(), m.memory(), shm("/dev/shm"), openFiles(), temp(tempDir), clock(), m.dns(), ipv6()}
}

// read returns a small file without its last line's end; "" where there is none to read.
func (m machine) read(name string) string {
	text, err := fs.ReadFile(m.files, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// limits are what the machine leaves to this process.
func (m machine) limits() admission.Machine { return admission.Machine{Files: m.files} }

func (m machine) cpu() check {
	c := check{Name: "cpu", State: healthy, Found: fmt.Sprintf("%d CPUs, GOMAXPROCS %d", runtime.NumCPU(), runtime.GOMAXPROCS(0))}
	limit := m.limits().CPULimit()
	if !math.IsInf(limit, 1) {
		c.Found += fmt.Sprintf(", limited to the time of %.2g", limit)
	}
	if math.Min(limit, float64(runtime.NumCPU())) < 2 {
		c.State, c.Do = limited, "give browser runs 2 CPUs each, or --browser-slots 0: a page that waits for the CPU seems slow, and a link goes off its profile"
	}
	return c
}

func (m machine) memory() check {
	const browser = 1 << 30 // bytes
	c := check{Name: "memory", State: healthy, Found: "not limited by a control group"}
	total := math.Inf(1)
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		total = float64(info.Totalram) * float64(info.Unit)
		c.Found = gib(total) + ", not limited by a control group"
	}
	if limit := m.limits().MemoryLimit(); limit < total {
		total, c.Found = limit, "limited to "+gib(limit)
	}
	if total < browser {
		c.State, c.Do = limited, "give each browser run "+gib(browser)
	}
	return c
}

// gib prints a size.
func gib(bytes float64) string { return fmt.Sprintf("%.1f GiB", bytes/(1<<30)) }

// shm looks at the file system that Chromium shares memory on. Containers have 64 MiB there by default.
func shm(dir string) check {
	const want = 512 << 20
	c := check{Name: "shm", State: healthy}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		c.Found = dir + ": " + err.Error()
	} else if free := float64(st.Bavail) * float64(st.Bsize); free >= want {
		c.Found = gib(free) + " free in " + dir
		return c
	} else {
		c.Found = fmt.Sprintf("%.0f MiB free in %s", free/(1<<20), dir)
	}
	c.Found += "; Chromium is started with --disable-dev-shm-usage and uses the temporary directory instead"
	return c
}

// openFiles looks at the limit that Go has raised to what the system allows.
func openFiles() check {
	const want = 4096
	c := check{Name: "open-files", State: healthy}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		c.State, c.Found = limited, "read limit: "+err.Error()
		return c
	}
	c.Found = fmt.Sprintf("limit %d", limit.Cur)
	if limit.Cur < want {
		c.State, c.Do = limited, fmt.Sprintf("raise it to %d: ulimit -n, LimitNOFILE= of the unit, --ulimit nofile= of the container", want)
	}
	return c
}

// temp writes where Chromium's run directories are made.
func temp(dir string) check {
	const longest = 40 // bytes: Chromium makes a socket below it, whose path has room for 107
	c := check{Name: "temp-dir", State: healthy, Found: dir + " is writable"}
	made, err := os.MkdirTemp(dir, "lastmile-doctor-")
	if err == nil {
		err = os.WriteFile(made+"/file", []byte("x"), 0o600)
		_ = os.RemoveAll(made)
	}
	switch {
	case err != nil:
		c.State, c.Found, c.Do = broken, err.Error(), "make room, or choose another with --temp-dir"
	case len(dir) > longest:
		c.State, c.Found = limited, fmt.Sprintf("%s is writable, and %d bytes long: too long for engine: full", dir, len(dir))
		c.Do = fmt.Sprintf("choose one of at most %d bytes with --temp-dir", longest)
	}
	return c
}

// clock asks the kernel whether somebody keeps its clock right. Budgets and slots of a fleet are in real time.
func clock() check {
	const (
		unsynchronised = 0x40 // STA_UNSYNC, linux/timex.h
		advice         = "run chrony or systemd-timesyncd on the host: results carry the time of this clock"
	)
	c := check{Name: "clock", State: healthy}
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		c.State, c.Found, c.Do = limited, "unknown whether it is synchronised: "+err.Error(), advice
	} else if t.Status&unsynchronised != 0 {
		c.State, c.Found, c.Do = limited, "not synchronised, its offset is unknown", advice
	} else {
		c.Found = fmt.Sprintf("synchronised, within %.0f ms", float64(t.Maxerror)/1000)
	}
	return c
}

// dns looks for a resolver. It asks it nothing.
func (m machine) dns() check {
	c := check{Name: "dns", State: healthy}
	var servers []string
	for line := range strings.Lines(m.read("etc/resolv.conf")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			servers = append(servers, f[1])
		}
	}
	if c.Found = "resolver " + strings.Join(servers, ", "); len(servers) == 0 {
		c.State, c.Found = limited, "no nameserver in /etc/resolv.conf: only names of /etc/hosts are found"
		c.Do = "write one there, or give the container one with --dns"
	}
	return c
}

// ipv6 looks for a route. Nothing is sent.
func ipv6() check {
	c := check{Name: "ipv6", State: healthy, Found: "there is a route"}
	conn, err := net.Dial("udp6", "[2001:db8::1]:9")
	if err != nil {
		c.Found = "no route: hosts are reached by IPv4 only"
		return c
	}
	_ = conn.Close()
	return c
}

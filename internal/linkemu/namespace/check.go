package namespace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Obstacle is what keeps a machine from having a link's namespace.
type Obstacle string

// The obstacles.
const (
	ObstacleUserNamespaces Obstacle = "user namespaces" // none can be made
	ObstacleMounts         Obstacle = "mounts"          // nothing can be mounted inside, or there is no resolver's file to mount over
	ObstacleTUN            Obstacle = "tun device"      // missing, or not for this user
	ObstacleNetwork        Obstacle = "network set-up"  // the device cannot be configured
	ObstacleInner          Obstacle = "inner half"      // this program, started inside, ended or did not answer

	obstacleExec Obstacle = "exec" // the command's fault, not the machine's
)

// UnavailableError says why this machine or container cannot have a link's namespace, and what its operator can do about it.
type UnavailableError struct {
	Obstacle Obstacle
	Advice   string
	Err      error // the kernel's answer
}

// Error implements error.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("enter the link's namespace: %s: %v; %s", e.Obstacle, e.Err, e.Advice)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Check reports whether this machine can have a link's namespace, by starting and ending one that runs this program, which must call
// Child. The error is an *UnavailableError where the machine does not allow it.
func Check(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, self, Command, nothing)
	device, err := Start(cmd, Config{
		// Of the range for benchmarks of networks, RFC 2544: nobody's.
		Address: netip.AddrFrom4([4]byte{198, 18, 0, 2}), Resolver: netip.AddrFrom4([4]byte{198, 18, 0, 1}), MTU: 1500,
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("enter the link's namespace: %w", ctx.Err())
		}
		return err
	}
	_ = device.Close() // was never used
	if err := cmd.Wait(); err != nil {
		return unavailable(ObstacleInner, err)
	}
	return nil
}

// forbids reports whether a clone that failed with errno was one for lack of user namespaces rather than of memory or processes.
func forbids(errno syscall.Errno) bool {
	switch errno {
	case unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS:
		return true
	}
	return false
}

func unavailable(o Obstacle, err error) *UnavailableError {
	return &UnavailableError{Obstacle: o, Advice: readPolicy().advice(o, err), Err: err}
}

// policy is what this machine says about who may have namespaces. A field is "" where the kernel does not know the setting.
type policy struct {
	usernsClone      string // kernel.unprivileged_userns_clone: Debian's switch
	apparmorRestrict string // kernel.apparmor_restrict_unprivileged_userns: Ubuntu's, from 23.10
	maxUser, maxNet  string // user.max_user_namespaces, user.max_net_namespaces
	profile          string // AppArmor's for this process, such as "docker-default (enforce)"
	seccomp          bool   // system calls are filtered
	root             bool
	noSetfcap        bool // without CAP_SETFCAP, which root needs to be root inside: user_namespaces(7)
}

func readPolicy() policy {
	read := func(path string) string {
		text, _ := os.ReadFile(path) // missing: this kernel does not have it
		return strings.Trim(string(text), "\x00\n ")
	}
	status := read("/proc/self/status")
	return policy{
		usernsClone:      read("/proc/sys/kernel/unprivileged_userns_clone"),
		apparmorRestrict: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		maxUser:          read("/proc/sys/user/max_user_namespaces"),
		maxNet:           read("/proc/sys/user/max_net_namespaces"),
		profile:          read("/proc/self/attr/current"),
		seccomp:          strings.Contains(status, "\nSeccomp:\t2"),
		root:             os.Geteuid() == 0,
		noSetfcap:        lacks(status, unix.CAP_SETFCAP),
	}
}

// lacks reports whether a process with that status lacks the capability.
func lacks(status string, capability int) bool {
	_, rest, _ := strings.Cut(status, "\nCapEff:\t")
	set, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(set, 16, 64)
	return err == nil && bits&(1<<capability) == 0
}

const (
	allowApparmor = "allow it by an AppArmor profile with \"userns,\" for the probe, or for all with: " +
		"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	allowSeccomp = "allow clone, unshare and mount in the container's seccomp profile, or run the container with: " +
		"--security-opt seccomp=unconfined"
	giveTUN = "give it to the container with: --device /dev/net/tun"
)

// advice says what an operator can do, by what the machine says about itself. An error that none of it explains gets general advice.
func (p policy) advice(o Obstacle, err error) string {
	switch o {
	case ObstacleUserNamespaces:
		return p.namespaces()
	case ObstacleMounts, ObstacleNetwork:
		if is(err, unix.ENOENT) {
			return "see that the file exists"
		}
		if !is(err, unix.EPERM, unix.EACCES) {
			return "see the kernel's log"
		}
		return p.powers()
	case ObstacleTUN:
		return p.tun(err)
	}
	return "run the program with debugging output, or see the kernel's log"
}

// namespaces is the advice where clone was refused.
func (p policy) namespaces() string {
	switch {
	case p.maxUser == "0":
		return "allow user namespaces with: sysctl -w user.max_user_namespaces=15000"
	case p.maxNet == "0":
		return "allow network namespaces with: sysctl -w user.max_net_namespaces=15000"
	case p.usernsClone == "0" && !p.root:
		return "allow user namespaces with: sysctl -w kernel.unprivileged_userns_clone=1"
	case p.root && p.noSetfcap:
		return "run the probe as an ordinary user, or with the capability SETFCAP; and if that is not all, " + allowSeccomp
	case p.seccomp:
		return allowSeccomp
	case p.apparmorRestrict == "1" && !p.root:
		return allowApparmor
	}
	return "allow user namespaces in the kernel's and the container's settings; a process under chroot cannot have them"
}

// powers is the advice where a namespace was made but lacks the powers that its maker has in it by right.
func (p policy) powers() string {
	switch {
	case p.apparmorRestrict == "1" && !p.root:
		return allowApparmor
	case strings.HasSuffix(p.profile, "(enforce)"):
		return "the AppArmor profile " + p.profile + " may forbid it: run the container with: --security-opt apparmor=unconfined"
	case p.seccomp:
		return allowSeccomp
	}
	return "allow mounts and network set-up to user namespaces in the security module's settings"
}

// tun is the advice where there is no device to have.
func (p policy) tun(err error) string {
	switch {
	case is(err, unix.ENOENT, unix.ENODEV, unix.ENXIO):
		return "load the module with: modprobe tun; " + giveTUN
	case is(err, unix.EACCES) && !p.root:
		return "let the probe's user read and write it with: chmod 0666 /dev/net/tun"
	case is(err, unix.EPERM) && p.apparmorRestrict == "1" && !p.root:
		return allowApparmor
	}
	return giveTUN
}

// is reports whether err is one of these.
func is(err error, any ...syscall.Errno) bool {
	for _, errno := range any {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

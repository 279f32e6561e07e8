// Package namespace runs a command where the only network is a TUN device whose packets this process handles.
//
// The command gets user, network and mount namespaces of its own. In them it is the same user as outside, without any capability, so
// that a browser's own sandbox works as ever; its only interface besides lo is the device; and the files by which names are looked up
// know one resolver only. No privilege is needed where the machine lets ordinary users make user namespaces and open /dev/net/tun, and
// no other program either: Start runs this very program again as its own inner half, which sets everything up from inside, hands the
// device out and becomes the command. A program that calls Start therefore calls Child first thing in main.
//
// The device is quiet: no router solicitation, no duplicate address detection, no multicast membership. What is read from it is what the
// command sent: whole IP packets of at most the MTU with their checksums in place, as segmentation offload is off. What is written
// to it needs the right checksums too.
//
// TCP in the namespace is the machine's kernel's, with the machine's default buffers (net.ipv4.tcp_rmem and tcp_wmem, which a new
// network namespace copies from the first one) and the congestion control that Config asks for, where the kernel has it and allows it.
package namespace

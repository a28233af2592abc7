"""KVM on that machine: VMs, vCPUs, page tables and TLBs, and what their ioctls, faults and notifiers do."""

"""Every night, many hosts: traces in, one history that grows, one report of what is new."""

"""What a newer kernel has that lockscope does not know yet: ``make kernels``.

``newest.sh`` boots the kernel and leaves its tracepoint formats, symbols, BTF, documents, headers and recordings in a
folder. Here each subject is a module that compares what lies there with what lockscope believes, and answers with
edits: the file to open, and what is different. Where a belief is in the product it is taken from there; the rest is in
``known/``, which ``--accept`` writes anew once the edits are made.
"""

"""Tests of lockscope.nightly."""

"""What maintainers run now and then: vendored files, screenshots. Nothing here is shipped."""

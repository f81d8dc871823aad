"""Files, archives and programs for the tests of Caffe's recipe."""
import io
import tarfile


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def files(tree):
    return sorted(path.relative_to(tree).as_posix() for path in tree.rglob('*') if path.is_file())


def pack(path, *members):
    """Write a tar archive; a member is a name with content, or a `tarfile.TarInfo`."""
    with tarfile.open(path, 'w:gz') as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, content = member
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path

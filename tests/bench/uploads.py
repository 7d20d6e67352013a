def upload(*_):
    return []

self.imported = 1
